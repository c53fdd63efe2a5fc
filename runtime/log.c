/* Structured log lines on stderr (runtime/log.h). */
#include "runtime/log.h"
#include <stdarg.h>
#include <stdio.h>

void log_write(struct log_site *site, enum log_level level, const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "%s\n", line);
}
