/* iSCSI text, key=value pairs (server/iscsi/text.h). */
#include "server/iscsi/text.h"
#include "runtime/err.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

void text_in_init(struct text_in *t, char *buf, size_t len)
{
	t->at = buf;
	t->end = buf + len;
	*t->end = 0; /* a last pair without its NUL is taken as it is */
}

/* RFC 7143 6.1: a standard-label, or one that begins with X-, X#, Y- or Z-. */
static bool key_ok(const char *key, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isascii((unsigned char)key[i]) ||
		    (!isalnum((unsigned char)key[i]) && !strchr(".-+@_#", key[i])))
			return false;
	return len > 0 && len <= TEXT_KEY_MAX;
}

int text_next(struct text_in *t, const char **ret_key, const char **ret_value)
{
	while (t->at < t->end && *t->at == 0)
		t->at++;
	if (t->at >= t->end)
		return 0;
	char *pair = t->at;
	size_t len = strlen(pair);
	t->at = pair + len + 1;
	char *eq = memchr(pair, '=', len);
	if (!eq || !key_ok(pair, (size_t)(eq - pair)))
		return -ERR_PROTO;
	if (len - (size_t)(eq + 1 - pair) > TEXT_VALUE_MAX)
		return -ERR_PROTO;
	*eq = 0;
	*ret_key = pair;
	*ret_value = eq + 1;
	return 1;
}

void text_out_init(struct text_out *t, char *buf, size_t cap)
{
	*t = (struct text_out){.buf = buf, .cap = cap};
}

static bool room(struct text_out *t, size_t n)
{
	if (t->overflow || n > t->cap - t->len) {
		t->overflow = true;
		return false;
	}
	return true;
}

void text_put(struct text_out *t, const char *key, const char *value)
{
	size_t k = strlen(key), v = strlen(value);
	if (!room(t, k + v + 2))
		return;
	char *p = t->buf + t->len;
	memcpy(p, key, k);
	p[k] = '=';
	memcpy(p + k + 1, value, v + 1);
	t->len += k + v + 2;
}

void text_put_u32(struct text_out *t, const char *key, uint32_t value)
{
	char s[16];
	snprintf(s, sizeof(s), "%u", value);
	text_put(t, key, s);
}

void text_put_hex(struct text_out *t, const char *key, const uint8_t *bin, size_t len)
{
	size_t k = strlen(key);
	if (!room(t, k + 1 + 2 + len * 2 + 1))
		return;
	char *p = t->buf + t->len;
	p += sprintf(p, "%s=0x", key);
	for (size_t i = 0; i < len; i++)
		p += sprintf(p, "%02x", bin[i]);
	t->len += k + 1 + 2 + len * 2 + 1;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool has_prefix(const char *s, char letter)
{
	return s[0] == '0' && tolower((unsigned char)s[1]) == letter;
}

int text_number(const char *value, uint32_t *ret)
{
	unsigned base = 10;
	if (has_prefix(value, 'x')) {
		base = 16;
		value += 2;
	}
	if (!*value)
		return -EINVAL;
	uint64_t n = 0;
	for (; *value; value++) {
		int d = hex_digit(*value);
		if (d < 0 || (unsigned)d >= base)
			return -EINVAL;
		n = n * base + (unsigned)d;
		if (n > UINT32_MAX)
			return -EINVAL;
	}
	*ret = (uint32_t)n;
	return 0;
}

bool text_is_answer(const char *value)
{
	return strcmp(value, "Reject") == 0 || strcmp(value, "Irrelevant") == 0 ||
	       strcmp(value, "NotUnderstood") == 0;
}

int text_bool(const char *value, bool *ret)
{
	bool yes = strcmp(value, "Yes") == 0;
	if (!yes && strcmp(value, "No") != 0)
		return -EINVAL;
	*ret = yes;
	return 0;
}

/* An odd first digit stands for itself: 0x1 is one byte. */
static int hex_binary(const char *s, uint8_t *ret, size_t cap)
{
	size_t digits = strlen(s), n = 0;
	if (digits == 0 || (digits + 1) / 2 > cap)
		return -EINVAL;
	if (digits & 1) {
		int d = hex_digit(*s++);
		if (d < 0)
			return -EINVAL;
		ret[n++] = (uint8_t)d;
	}
	for (; *s; s += 2) {
		int hi = hex_digit(s[0]), lo = hex_digit(s[1]);
		if (hi < 0 || lo < 0)
			return -EINVAL;
		ret[n++] = (uint8_t)(hi << 4 | lo);
	}
	return (int)n;
}

static int base64_digit(char c)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *p = c ? strchr(digits, c) : NULL;
	return p ? (int)(p - digits) : -1;
}

static int base64_binary(const char *s, uint8_t *ret, size_t cap)
{
	size_t n = 0, len = strlen(s);
	if (len == 0 || len % 4)
		return -EINVAL;
	for (size_t i = 0; i < len; i += 4) {
		bool last = i + 4 == len;
		int pad = last && s[i + 3] == '=' ? (s[i + 2] == '=' ? 2 : 1) : 0;
		uint32_t v = 0;
		for (int k = 0; k < 4; k++) {
			int d = k >= 4 - pad ? 0 : base64_digit(s[i + (size_t)k]);
			if (d < 0)
				return -EINVAL;
			v = v << 6 | (uint32_t)d;
		}
		for (int k = 0; k < 3 - pad; k++) {
			if (n == cap)
				return -EINVAL;
			ret[n++] = (uint8_t)(v >> (16 - 8 * k));
		}
	}
	return (int)n;
}

int text_binary(const char *value, uint8_t *ret, size_t cap)
{
	if (has_prefix(value, 'x'))
		return hex_binary(value + 2, ret, cap);
	if (has_prefix(value, 'b'))
		return base64_binary(value + 2, ret, cap);
	return -EINVAL;
}

bool text_list(const char *value, bool (*each)(void *arg, const char *member), void *arg)
{
	char member[256];
	for (;;) {
		size_t n = strcspn(value, ",");
		if (n > 0 && n < sizeof(member)) {
			memcpy(member, value, n);
			member[n] = 0;
			if (each(arg, member))
				return true;
		}
		if (!value[n])
			return false;
		value += n + 1;
	}
}
