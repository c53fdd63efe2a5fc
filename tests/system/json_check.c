/* json_check: is standard input one JSON text and nothing more? */
#include <jansson.h>
#include <stdio.h>

int main(void)
{
	json_error_t e;
	json_t *j = json_loadf(stdin, JSON_REJECT_DUPLICATES, &e);
	if (!j) {
		fprintf(stderr, "json_check: line %d: %s\n", e.line, e.text);
		return 1;
	}
	json_decref(j);
	return 0;
}
