/* Helpers for messages made by protobuf-c (meta.h). */
#include "blockcore/control/meta.h"
#include "runtime/check.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int pb_append(void *array_ptr, size_t *n, void *item)
{
	void ***a = array_ptr;
	void **p = realloc(*a, (*n + 1) * sizeof(*p));
	if (!p)
		return -ENOMEM;
	p[(*n)++] = item;
	*a = p;
	return 0;
}

void pb_remove(void *array_ptr, size_t *n, size_t i)
{
	void **p = *(void ***)array_ptr;
	ASSERT(i < *n);
	memmove(p + i, p + i + 1, (*n - i - 1) * sizeof(*p));
	(*n)--;
}

int pb_set_text(char **field, const char *text)
{
	char *t = strdup(text);
	if (!t)
		return -ENOMEM;
	if (*field && *field != protobuf_c_empty_string)
		free(*field);
	*field = t;
	return 0;
}

int pb_set_bytes(ProtobufCBinaryData *field, const void *data, size_t len)
{
	uint8_t *p = malloc(len ? len : 1);
	if (!p)
		return -ENOMEM;
	memcpy(p, data, len);
	free(field->data);
	field->data = p;
	field->len = len;
	return 0;
}
