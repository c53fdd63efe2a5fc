/* A dump's view of the journal: both headers, and the records a replay would look at. */
#include "nasfront/fs/dump.h"
#include "runtime/err.h"
#include <inttypes.h>

static void head_dump(struct dumper *d, uint64_t block)
{
	uint8_t h[BS];
	const char *why = dump_fetch(d, block, BT_JHEAD, h);
	if (why) {
		if (le32_get(h) == META_MAGIC)
			dump_bad(d, 0, "journal header in %" PRIu64 ": %s", block, why);
		else /* never written yet: they are written in turns */
			dump_say(d, 0, "journal header in %" PRIu64 ": %s", block, why);
		return;
	}
	dump_say(d, 0,
		 "journal header in %" PRIu64 ": generation %" PRIu64 ", tail %" PRIu64
		 ", hard before %" PRIu64 ", nonce %016" PRIx64,
		 block, le64_get(h + JH_GEN), le64_get(h + JH_TAIL), le64_get(h + JH_HARD),
		 le64_get(h + JH_NONCE));
	dump_say(d, 1, "%s, memory %016" PRIx64 ", write verifier %016" PRIx64,
		 le32_get(h + JH_CLEAN) ? "unmounted" : "in use or not unmounted",
		 le64_get(h + JH_MEMORY), le64_get(h + JH_VERIFIER));
}

static void items_dump(struct dumper *d, const uint8_t *rec)
{
	const uint8_t *p = rec + JR_SIZE, *end = rec + le32_get(rec + JR_LENGTH);
	uint32_t items = le32_get(rec + JR_ITEMS), revokes = le32_get(rec + JR_REVOKES);
	for (uint32_t i = 0; i < revokes && end - p >= 8 && !d->full; i++, p += 8)
		dump_say(d, 1, "revokes %" PRIu64, le64_get(p));
	for (uint32_t i = 0; i < items && !d->full; i++) {
		unsigned off, len;
		if (end - p < JI_SIZE) {
			dump_bad(d, 1, "the record ends before item %u of %u", i, items);
			return;
		}
		off = le16_get(p + 8);
		len = le16_get(p + 10);
		dump_say(d, 1, "block %" PRIu64 ", %s: +%u, %u bytes", le64_get(p),
			 dump_type(le32_get(p + 12)), off, len);
		p += JI_SIZE;
		if (end - p < (ptrdiff_t)len || off + len > BS) {
			dump_bad(d, 1, "item %u lies outside its record or block", i);
			return;
		}
		p += len;
	}
}

static void records_dump(struct dumper *d, struct fs *fs)
{
	uint64_t pos = fs->tail, n = 0;
	while (pos - fs->tail < fs->log_blocks && !d->full) {
		int64_t blocks = journal_record_read(fs, pos);
		if (blocks < 0)
			dump_bad(d, 0, "log position %" PRIu64 ": %s", pos, err_text((int)blocks));
		if (blocks <= 0 || pos + (uint64_t)blocks - fs->tail > fs->log_blocks)
			break;
		dump_say(d, 0,
			 "record %" PRIu64 " at %" PRIu64 " +%" PRId64
			 ": %s, %u items, %u revokes, memory %016" PRIx64,
			 pos, fs->journal_start + 2 + pos % fs->log_blocks, blocks,
			 le32_get(fs->log + JR_FLAGS) & JRF_SOFT ? "soft" : "hard",
			 le32_get(fs->log + JR_ITEMS), le32_get(fs->log + JR_REVOKES),
			 le64_get(fs->log + JR_MEMORY));
		items_dump(d, fs->log);
		pos += (uint64_t)blocks;
		n++;
	}
	if (!d->full)
		dump_say(d, 0, "%" PRIu64 " records from %" PRIu64 " to %" PRIu64, n, fs->tail,
			 pos);
}

void dump_journal(struct dumper *d)
{
	struct fs *fs = d->shape;
	bool clean;
	head_dump(d, fs->journal_start);
	head_dump(d, fs->journal_start + 1);
	if (d->fs) {
		records_dump(d, fs);
		return;
	}
	fs->salvage = true; /* one header will do */
	int rc = journal_init(fs);
	if (!rc)
		rc = journal_head_read(fs, &clean);
	if (rc)
		dump_bad(d, 0, "the journal cannot be read: %s", err_text(rc));
	else
		records_dump(d, fs);
	journal_free(fs);
}
