#include "tests/unit/nfs4/v4_valid.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "nasfront/nfs4/nfs4_proto.h"
#include "runtime/check.h"
#include "tests/unit/nfs4/v4_table.h"

#define LAST_V40 OP_RELEASE_LOCKOWNER
#define LAST_V41 OP_RECLAIM_COMPLETE
_Static_assert(V4_ERRORS <= 128, "two words of bits");

/* ---- sets ---- */

struct set {
	uint64_t w[2];
};
static struct set listed[V4_MINORS][V4_OPS], allowed[V4_MINORS][V4_OPS];
static bool ready;

static int index_of(uint32_t status)
{
	for (unsigned i = 0; i < V4_ERRORS; i++)
		if (v4_errors[i].number == status)
			return (int)i;
	return -1;
}

bool v4_status_of(const char *name, uint32_t *ret)
{
	for (unsigned i = 0; i < V4_ERRORS; i++)
		if (strcmp(v4_errors[i].name, name) == 0) {
			*ret = v4_errors[i].number;
			return true;
		}
	return false;
}

/* A typing error in a table fails every test. */
static void add(struct set *s, const char *names)
{
	char word[40];
	int n;
	while (sscanf(names, " %39s%n", word, &n) == 1) {
		uint32_t number;
		if (!v4_status_of(word, &number)) {
			fprintf(stderr, "no error is called %s\n", word);
			abort();
		}
		int i = index_of(number);
		s->w[i / 64] |= 1ull << i % 64;
		names += n;
	}
}

static bool has(const struct set *s, int i)
{
	return i >= 0 && s->w[i / 64] >> i % 64 & 1;
}

static const struct v4_row *row_of(uint32_t minor, uint32_t op)
{
	const struct v4_row *r = op >= V4_OPS ? NULL : minor ? &v4_rows41[op] : &v4_rows40[op];
	if (!r || !r->op || (minor == 1 && op > LAST_V41) || (minor == 0 && op > LAST_V40))
		return NULL;
	return r;
}

static void prepare(void)
{
	if (ready)
		return;
	for (unsigned m = 0; m < V4_MINORS; m++)
		for (uint32_t op = 0; op < V4_OPS; op++) {
			const struct v4_row *r = row_of(m, op);
			if (!r)
				continue;
			if (m == 2 && op == OP_GETDEVICELIST)
				add(&listed[m][op], "NOTSUPP");
			else
				add(&listed[m][op], r->errors);
			allowed[m][op] = listed[m][op];
			for (unsigned i = 0; i < V4_EXTRA && op; i++)
				if (v4_extra[i].minors >> m & 1 &&
				    (v4_extra[i].op == op || v4_extra[i].op == V4_ILLEGAL))
					add(&allowed[m][op], v4_extra[i].errors);
		}
	ready = true;
}

static uint32_t slot_of(uint32_t minor, uint32_t op)
{
	return row_of(minor, op) ? op : V4_ILLEGAL;
}

bool v4_valid(uint32_t minor, uint32_t op, uint32_t status)
{
	prepare();
	op = slot_of(minor, op);
	if (minor >= V4_MINORS)
		return false;
	return (status == NFS4_OK && op != V4_ILLEGAL) ||
	       has(&allowed[minor][op], index_of(status));
}

bool v4_valid_compound(uint32_t minor, uint32_t status)
{
	if (minor >= V4_MINORS)
		return status == NFS4ERR_MINOR_VERS_MISMATCH;
	/* RFC 8881 16.2.4, table 9; RFC 7530 15.2.4. */
	return status == NFS4_OK || status == NFS4ERR_BADXDR || status == NFS4ERR_DELAY ||
	       status == (minor ? NFS4ERR_TOO_MANY_OPS : NFS4ERR_RESOURCE);
}

const char *v4_status_name(uint32_t status)
{
	static char text[16];
	int i = index_of(status);
	if (i >= 0)
		return v4_errors[i].name;
	snprintf(text, sizeof(text), "%u", status);
	return text;
}

const char *v4_op_name(uint32_t minor, uint32_t op)
{
	const struct v4_row *r = row_of(minor, op);
	return r ? r->op : NULL;
}

bool v4_op_of(const char *name, uint32_t *ret)
{
	for (uint32_t op = 0; op < V4_OPS; op++)
		if ((v4_rows41[op].op && strcmp(v4_rows41[op].op, name) == 0) ||
		    (v4_rows40[op].op && strcmp(v4_rows40[op].op, name) == 0)) {
			*ret = op ? op : OP_ILLEGAL;
			return true;
		}
	return false;
}

/* ---- what was seen ---- */

static uint8_t (*seen)[V4_OPS][V4_ERRORS];

void v4_seen_begin(void)
{
	size_t size = V4_MINORS * sizeof(*seen);
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT(p != MAP_FAILED);
	seen = p;
}

void v4_seen_note(uint32_t minor, uint32_t op, uint32_t status)
{
	int i = index_of(status);
	if (seen && minor < V4_MINORS && i >= 0)
		seen[minor][slot_of(minor, op)][i] = 1;
}

/* Reasons that hold wherever the error is listed. */
static const struct v4_never never_any[] = {
    {V40_UP, "*", "LEASE_MOVED", "no client's lease moves to another server"},
    {V40_UP, "*", "FHEXPIRED", "handles are good for ever: fh_expire_type says so"},
    {V40_UP, "*", "ADMIN_REVOKED", "nobody can take single states away"},
    {V40_UP, "*", "SERVERFAULT", "for what should not happen"},
    {V40_UP, "*", "FILE_OPEN", "what is open can be removed, renamed and linked"},
    {V40_UP, "*", "BAD_RANGE LOCK_RANGE LOCK_NOTSUPP", "ranges are of 64 bits, as POSIX has them"},
    {V40_UP, "*", "DEADLOCK", "who waits for a lock asks again; nobody waits here"},
    {V41_UP, "*", "DEADSESSION", "sessions do not outlive the head: BADSESSION"},
    {V41_UP, "*", "UNSAFE_COMPOUND", "compounds are not judged by what follows"},
    {V41_UP, "*", "PNFS_IO_HOLE PNFS_NO_LAYOUT UNKNOWN_LAYOUTTYPE", "there are no layouts"},
    {V41_UP, "*", "REQ_TOO_BIG TOO_MANY_OPS", "SEQUENCE says so, before any other operation"},
    {V40, "*", "BADHANDLE", "PUTFH says so: what it put is a handle of ours"},
};

static const struct v4_never *reason(const struct v4_never *never, unsigned count, unsigned minor,
				     const char *op, const char *error)
{
	for (unsigned i = 0; i < count; i++) {
		const char *at = never[i].errors;
		size_t len = strlen(error);
		if (!(never[i].minors >> minor & 1) ||
		    (strcmp(never[i].op, "*") && strcmp(never[i].op, op)))
			continue;
		for (; (at = strstr(at, error)); at += len)
			if ((at == never[i].errors || at[-1] == ' ') &&
			    (at[len] == ' ' || !at[len]))
				return &never[i];
	}
	return NULL;
}

static bool check_one(unsigned minor, uint32_t op, int i, const struct v4_never *never,
		      unsigned count)
{
	const char *name = v4_op_name(minor, op), *error = v4_errors[i].name;
	const struct v4_never *own = reason(never, count, minor, name, error);
	const struct v4_never *any = reason(never_any, ARRAY_LEN(never_any), minor, name, error);
	bool want = i == 0 || has(&listed[minor][op], i);
	if (seen[minor][op][i] && own && strcmp(own->op, "*")) {
		fprintf(stderr, "4.%u %s said %s, though \"%s\"\n", minor, name, error, own->why);
		return false;
	}
	if (!seen[minor][op][i] && want && !own && !any) {
		fprintf(stderr, "4.%u %s never said %s\n", minor, name, error);
		return false;
	}
	return true;
}

bool v4_seen_check(const char *ops, const struct v4_never *never, unsigned count)
{
	char word[40];
	bool good = true;
	int n;
	prepare();
	for (; sscanf(ops, " %39s%n", word, &n) == 1; ops += n) {
		uint32_t op;
		if (!v4_op_of(word, &op)) {
			fprintf(stderr, "no operation is called %s\n", word);
			return false;
		}
		for (unsigned m = 0; m < V4_MINORS; m++)
			for (unsigned i = 0; i < V4_ERRORS && row_of(m, op); i++)
				good &= check_one(m, op, (int)i, never, count);
	}
	return good;
}
