/* Sizes as people write them: "10G", "512MiB", "1.5T" (runtime/admin.h). */
#include "runtime/admin.h"
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

/* "", "B", "K", "KB", "KiB", ... -> shift. The letters' powers are of 1024 in every spelling. */
static int unit_shift(const char *s)
{
	static const char letters[] = "KMGTPE";
	if (*s == '\0' || strcasecmp(s, "B") == 0)
		return 0;
	const char *l = strchr(letters, toupper((unsigned char)*s));
	if (!l)
		return -EINVAL;
	s++;
	if (*s && strcasecmp(s, "B") != 0 && strcasecmp(s, "iB") != 0)
		return -EINVAL;
	return (int)(l - letters + 1) * 10;
}

int parse_size(const char *s, uint64_t *ret)
{
	uint64_t whole = 0, frac = 0, frac_div = 1;
	const char *start = s;
	for (; isdigit((unsigned char)*s); s++) {
		if (__builtin_mul_overflow(whole, 10, &whole) ||
		    __builtin_add_overflow(whole, (uint64_t)(*s - '0'), &whole))
			return -ERANGE;
	}
	if (s == start)
		return -EINVAL;
	if (*s == '.') {
		start = ++s;
		for (; isdigit((unsigned char)*s); s++) {
			if (frac_div < 1000000000) { /* nine digits are exact enough */
				frac = frac * 10 + (uint64_t)(*s - '0');
				frac_div *= 10;
			}
		}
		if (s == start)
			return -EINVAL;
	}
	int shift = unit_shift(s);
	if (shift < 0 || (frac && shift == 0))
		return -EINVAL;
	if (whole > UINT64_MAX >> shift)
		return -ERANGE;
	__uint128_t v = ((__uint128_t)whole << shift) + (((__uint128_t)frac << shift) / frac_div);
	if (v > UINT64_MAX)
		return -ERANGE;
	*ret = (uint64_t)v;
	return 0;
}
