/*
 * The memos' part of a check: every block of the ring holds. One that does not is emptied: what it
 * knew is lost, so a call that a client sends again may be carried out twice.
 */
#include "nasfront/fs/check.h"
#include "nasfront/fs/memo.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <inttypes.h>

static int empty_body(struct fs *fs, uint64_t block)
{
	struct buf *b;
	return memo_block_new(fs, block, &b);
}

static int block_check(struct checker *c, uint64_t block)
{
	struct op op;
	int rc = check_fetch(c, block, BT_MEMOS, MEMO_INO, c->block);
	if (rc != -ERR_CORRUPT && rc != -EIO && rc != -ERR_MEDIUM)
		return rc;
	if (!check_error(c, 0, "block %" PRIu64 " of memos cannot be read", block) || !c->repair)
		return 0;
	op_begin(&op, c->fs, true);
	OP_LOOP(&op, rc, empty_body(c->fs, block));
	rc = op_commit(&op, rc);
	if (!rc)
		check_say(c, 0, "block %" PRIu64 ": emptied, its memos are lost", block);
	check_fixed(c, rc, 0);
	return 0;
}

int check_memos(struct checker *c, const uint8_t *p)
{
	int rc = 0;
	for (unsigned i = 0; i < le32_get(p + I_INLINE); i++) {
		const uint8_t *e = p + I_AREA + i * EXT_INLINE_SIZE;
		uint64_t start = le64_get(e + 8), len = le32_get(e + 16);
		for (uint64_t k = 0; k < len && !rc; k++)
			rc = block_check(c, start + k);
	}
	return rc;
}
