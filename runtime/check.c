#include "runtime/check.h"
#include "runtime/log.h"
#include <stdlib.h>

void check_failed(const char *file, int line, const char *func, const char *expr)
{
	log_error("check failed at %s:%d %s(): %s", file, line, func, expr);
	abort();
}
