/*
 * iSCSI text: key=value pairs, each ended by a NUL (RFC 7143 6.1). Reading
 * bounds keys and values; writing stops at the end of its buffer and remembers it.
 */
#ifndef ISTHMUS_ISCSI_TEXT_H
#define ISTHMUS_ISCSI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_KEY_MAX   63
#define TEXT_VALUE_MAX 4096 /* a CHAP challenge of 1024 bytes in hexadecimal, and lists */

/* Reads buf[len], which is changed: '=' and the last byte become NUL. buf[len] must be writable. */
struct text_in {
	char *at, *end;
};
void text_in_init(struct text_in *t, char *buf, size_t len);
/* 1: a pair; 0: the end; -ERR_PROTO: no '=', an empty or too long key or one of other characters
 * than keys have, a too long value. */
int text_next(struct text_in *t, const char **ret_key, const char **ret_value);

struct text_out {
	char *buf;
	size_t len, cap;
	bool overflow; /* something did not fit */
};
void text_out_init(struct text_out *t, char *buf, size_t cap);
void text_put(struct text_out *t, const char *key, const char *value);
void text_put_u32(struct text_out *t, const char *key, uint32_t value);
void text_put_hex(struct text_out *t, const char *key, const uint8_t *bin, size_t len);

/* Decimal or 0x-hexadecimal, whole, at most UINT32_MAX. 0 or -EINVAL. */
int text_number(const char *value, uint32_t *ret);
/* RFC 7143 6.2: Reject, Irrelevant and NotUnderstood are answers, and may not be offered. */
bool text_is_answer(const char *value);
/* "Yes" or "No". 0 or -EINVAL. */
int text_bool(const char *value, bool *ret);
/* A binary value: 0x hexadecimal or 0b base 64. Its length (at most cap), or -EINVAL. */
int text_binary(const char *value, uint8_t *ret, size_t cap);
/* Calls each for the members of a comma-separated list, in order; the first for which it
 * returns true ends the walk. True: one did. Members are at most 255 bytes; longer ones are
 * skipped. */
bool text_list(const char *value, bool (*each)(void *arg, const char *member), void *arg);

#endif
