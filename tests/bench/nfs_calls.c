/*
 * The bench's NFSv3 operations (RFC 1813 3.3): how each is encoded, what differs from call to
 * call, and what its reply must say.
 */
#include "tests/bench/nfs_client_impl.h"
#include <stdio.h>
#include <string.h>
#include "runtime/check.h"

#define NAME_DIGITS 8
#define DIRECTORY_MAX                                                                              \
	32768u /* bytes of a READDIRPLUS reply, as Linux' client has asked for long                \
		*/

void nfs_file_name(char ret[NFS_NAME_LEN + 1], uint64_t number)
{
	snprintf(ret, NFS_NAME_LEN + 1, "file.%08u", (unsigned)(number % 100000000));
}

/* ---- what replies share ---- */

/* post_op_attr. The attributes, NULL when there are none. */
static const uint8_t *post_attr(struct dec *d)
{
	return dec_u32(d) ? dec_bytes(d, ATTR_BYTES) : NULL;
}

static void wcc_data(struct dec *d)
{
	if (dec_u32(d))
		dec_bytes(d, 24);
	post_attr(d);
}

/* A word that tells handles apart. */
static uint64_t handle_mark(const uint8_t *p, uint32_t len)
{
	uint64_t m = len;
	for (uint32_t i = 0; i < len; i++)
		m = (m ^ p[i]) * 0x100000001b3ull;
	return m;
}

/* ---- GETATTR ---- */

static void encode_handle(const struct nfs_load *l, struct template *t, struct enc *e)
{
	enc_opaque(e, l->fh.data, l->fh.len);
}

static void patch_nothing(struct slot *s, uint8_t *place)
{
}

static int reply_getattr(struct nfs_conn *c, struct slot *s, struct dec *d)
{
	const uint8_t *a = dec_bytes(d, ATTR_BYTES);
	if (!a || be32_get(a) != TYPE_REGULAR || be64_get(a + 20) != c->load->region)
		return nfs_fail(c, "GETATTR: not a file of %llu bytes",
				(unsigned long long)c->load->region);
	return 1;
}

/* ---- LOOKUP, CREATE, REMOVE: a name in the directory ---- */

static void encode_name(const struct nfs_load *l, struct template *t, struct enc *e)
{
	char name[NFS_NAME_LEN + 1];
	nfs_file_name(name, 0);
	enc_opaque(e, l->fh.data, l->fh.len);
	t->at_place = e->len + 4 + NFS_NAME_LEN - NAME_DIGITS;
	enc_opaque(e, name, NFS_NAME_LEN);
}

static void encode_create(const struct nfs_load *l, struct template *t, struct enc *e)
{
	encode_name(l, t, e);
	enc_u32(e, 1); /* GUARDED */
	enc_u32(e, 1);
	enc_u32(e, 0644);
	for (int i = 0; i < 5; i++)
		enc_u32(e, 0);
}

static void patch_name(struct slot *s, uint8_t *place)
{
	uint32_t n = (uint32_t)s->at;
	for (int i = NAME_DIGITS - 1; i >= 0; i--, n /= 10)
		place[i] = (uint8_t)('0' + n % 10);
}

static int reply_lookup(struct nfs_conn *c, struct slot *s, struct dec *d)
{
	uint32_t len;
	const uint8_t *fh = dec_opaque(d, 64, &len), *a = post_attr(d);
	post_attr(d);
	if (!fh || len == 0 || (a && be32_get(a) != TYPE_REGULAR))
		return nfs_fail(c, "LOOKUP: not a file");
	if (c->load->marks && handle_mark(fh, len) != c->load->marks[s->at])
		return nfs_fail(c, "LOOKUP: the handle of another file than number %llu",
				(unsigned long long)s->at);
	return 1;
}

static int reply_create(struct nfs_conn *c, struct slot *s, struct dec *d)
{
	uint32_t len = 0;
	const uint8_t *fh = dec_u32(d) ? dec_opaque(d, 64, &len) : NULL;
	const uint8_t *a = post_attr(d);
	wcc_data(d);
	if (!fh || len == 0 || !a || be32_get(a) != TYPE_REGULAR)
		return nfs_fail(c, "CREATE: no handle or attributes of a file");
	if (c->load->marks)
		c->load->marks[s->at] = handle_mark(fh, len);
	return 1;
}

static int reply_remove(struct nfs_conn *c, struct slot *s, struct dec *d)
{
	wcc_data(d);
	return 1;
}

/* ---- READ, WRITE ---- */

static void encode_read(const struct nfs_load *l, struct template *t, struct enc *e)
{
	encode_handle(l, t, e);
	t->at_place = e->len;
	enc_u64(e, 0);
	enc_u32(e, l->size);
}

static void encode_write(const struct nfs_load *l, struct template *t, struct enc *e)
{
	encode_read(l, t, e);
	enc_u32(e, l->op == NFS_WRITE ? UNSTABLE : FILE_SYNC);
	enc_u32(e, l->size); /* of the data, which follows */
}

static void patch_offset(struct slot *s, uint8_t *place)
{
	be64_put(place, s->at);
}

static int reply_read(struct nfs_conn *c, struct slot *s, struct dec *d)
{
	post_attr(d);
	uint32_t count = dec_u32(d);
	dec_u32(d); /* eof */
	uint32_t len = dec_u32(d);
	if (d->bad || count != c->load->size || len != count)
		return nfs_fail(c, "READ: %u bytes of %u at %llu", count, c->load->size,
				(unsigned long long)s->at);
	return 1;
}

static int reply_write(struct nfs_conn *c, struct slot *s, struct dec *d)
{
	wcc_data(d);
	uint32_t count = dec_u32(d), committed = dec_u32(d);
	dec_bytes(d, 8);
	if (d->bad || count != c->load->size ||
	    (c->load->op != NFS_WRITE && committed != FILE_SYNC))
		return nfs_fail(c, "WRITE: %u bytes of %u, committed %u", count, c->load->size,
				committed);
	return 1;
}

/* ---- READDIRPLUS ---- */

static void encode_readdirplus(const struct nfs_load *l, struct template *t, struct enc *e)
{
	encode_handle(l, t, e);
	t->at_place = e->len;
	enc_u64(e, 0); /* cookie */
	enc_u64(e, 0); /* verifier */
	enc_u32(e, DIRECTORY_MAX);
	enc_u32(e, DIRECTORY_MAX);
}

static void patch_cookie(struct slot *s, uint8_t *place)
{
	be64_put(place, s->cookie);
	memcpy(place + 8, s->verifier, 8);
}

static int take_entry(struct nfs_conn *c, struct slot *s, struct dec *d)
{
	uint32_t len, fh_len = 0;
	dec_u64(d); /* fileid */
	const uint8_t *name = dec_opaque(d, 255, &len);
	s->cookie = dec_u64(d);
	const uint8_t *a = post_attr(d), *fh = dec_u32(d) ? dec_opaque(d, 64, &fh_len) : NULL;
	if (d->bad || !name || len == 0)
		return nfs_fail(c, "READDIRPLUS: an entry that is none");
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return 0;
	if (!a || !fh || fh_len == 0 || be32_get(a) != TYPE_REGULAR)
		return nfs_fail(c, "READDIRPLUS: no attributes or handle of %.*s", (int)len, name);
	s->listed++;
	return 0;
}

static int reply_readdirplus(struct nfs_conn *c, struct slot *s, struct dec *d)
{
	uint64_t was = s->listed;
	post_attr(d);
	const uint8_t *verifier = dec_bytes(d, 8);
	if (!verifier)
		return nfs_fail(c, "READDIRPLUS: no verifier");
	memcpy(s->verifier, verifier, 8);
	while (dec_u32(d))
		if (take_entry(c, s, d))
			return -1;
	uint32_t eof = dec_u32(d);
	int n = (int)(s->listed - was);
	if (d->bad || (!eof && n == 0))
		return nfs_fail(c, "READDIRPLUS: no entries and no end");
	if (!eof)
		return n;
	if (s->listed != c->load->files)
		return nfs_fail(c, "READDIRPLUS: %llu files of %llu listed",
				(unsigned long long)s->listed, (unsigned long long)c->load->files);
	s->cookie = s->listed = 0;
	memset(s->verifier, 0, sizeof(s->verifier));
	return n;
}

static const struct op ops[] = {
    [NFS_GETATTR] = {"GETATTR", PROC_GETATTR, encode_handle, patch_nothing, reply_getattr},
    [NFS_LOOKUP] = {"LOOKUP", PROC_LOOKUP, encode_name, patch_name, reply_lookup},
    [NFS_READ] = {"READ", PROC_READ, encode_read, patch_offset, reply_read},
    [NFS_WRITE] = {"WRITE", PROC_WRITE, encode_write, patch_offset, reply_write},
    [NFS_WRITE_SYNC] = {"WRITE", PROC_WRITE, encode_write, patch_offset, reply_write},
    [NFS_READDIRPLUS] = {"READDIRPLUS", PROC_READDIRPLUS, encode_readdirplus, patch_cookie,
			 reply_readdirplus},
    [NFS_CREATE] = {"CREATE", PROC_CREATE, encode_create, patch_name, reply_create},
    [NFS_REMOVE] = {"REMOVE", PROC_REMOVE, encode_name, patch_name, reply_remove},
};

const struct op *nfs_op_get(enum nfs_op op)
{
	return &ops[op];
}
