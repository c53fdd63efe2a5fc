/*
 * Figures of the head's file systems: what is in them, and what of their metadata is in memory. All
 * of it is at hand: nothing here waits for a volume.
 */
#include "nasfront/fs/fs.h"
#include "nasfront/head.h"
#include "runtime/admin.h"

static uint64_t per_cent(uint64_t part, uint64_t all)
{
	return all ? (part * 100 + all - 1) / all : 0;
}

/* As df has it: what metadata takes is used; what nobody may have any more is neither used nor
 * free. */
static void put_space(struct admin_call *call, const struct fs_statfs *s)
{
	uint64_t used = s->total_bytes - s->free_bytes;
	admin_put_bytes(call, "size", s->total_bytes);
	admin_put_bytes(call, "used", used);
	admin_put_bytes(call, "free", s->avail_bytes);
	admin_put_number(call, "use_percent", per_cent(used, used + s->avail_bytes));
	admin_put_number(call, "files", s->total_files - s->free_files);
	admin_put_number(call, "files_free", s->free_files);
}

void head_put_filesystems(struct head *h, struct admin_call *call)
{
	static const struct fs_statfs none;
	struct head_fs *f;
	admin_table(call, "filesystems", false);
	TAILQ_FOREACH (f, &h->filesystems, link) {
		struct fs_statfs s;
		bool known = f->fs && fs_statfs(f->fs, &s) == 0;
		admin_row(call);
		admin_put_text(call, "head", "%s", h->config->name);
		admin_put_text(call, "name", "%s", f->name);
		admin_put_text(call, "state", "%s", f->fs ? "mounted" : "unavailable");
		put_space(call, known ? &s : &none);
		admin_put_text(call, "why", "%s", f->text);
	}
}

static void put_metadata(struct admin_call *call, const struct head_fs *f)
{
	struct fs_stats s;
	fs_stats(f->fs, &s);
	admin_row(call);
	admin_put_text(call, "fs", "%s", f->name);
	admin_put_bytes(call, "memory", s.blocks_resident * FS_BLOCK_SIZE);
	admin_put_bytes(call, "at_most", s.blocks_max * FS_BLOCK_SIZE);
	admin_put_bytes(call, "dirty", s.blocks_dirty * FS_BLOCK_SIZE);
	admin_put_number(call, "hits", s.metadata_hits);
	admin_put_number(call, "misses", s.metadata_reads);
	admin_put_number(call, "repaired", s.metadata_repaired);
	admin_put_number(call, "changes", s.commit_ops);
	admin_put_number(call, "commits", s.commits);
	admin_put_bytes(call, "journaled", s.journal_bytes);
	admin_put_bytes(call, "journal_used", s.journal_used);
	admin_put_bytes(call, "journal_size", s.journal_size);
	admin_put_bytes(call, "written_back", s.blocks_written * FS_BLOCK_SIZE);
}

void head_put_metadata(struct head *h, struct admin_call *call)
{
	struct head_fs *f;
	admin_table(call, "metadata", false);
	TAILQ_FOREACH (f, &h->filesystems, link)
		if (f->fs)
			put_metadata(call, f);
}
