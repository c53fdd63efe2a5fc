/* The verb fs.verify: the file system's own check while it serves. */
#include <errno.h>
#include "nasfront/fs/fs.h"
#include "nasfront/head.h"
#include "runtime/admin.h"
#include "runtime/err.h"

struct verify {
	struct admin_call *call;
	struct fs_check_report report;
	unsigned lines;
};

static void verify_say(void *arg, const char *line)
{
	struct verify *v = arg;
	if (v->lines++ < 1000)
		admin_note(v->call, "%s", line);
}

static int verify_run(void *arg, struct fs *fs)
{
	struct verify *v = arg;
	return fs_verify(fs, verify_say, v, &v->report);
}

static int verb_verify(struct admin_call *call, void *arg)
{
	struct head *h = arg;
	struct verify v = {.call = call};
	const char *name = admin_arg_text(call, "name");
	if (!name)
		return admin_error(call, -EINVAL, NULL, "which file system?");
	admin_progress(call, "verifying", 0, 0);
	int rc = nfs_mount_use(h->nfs, name, verify_run, &v);
	if (rc == -ENOENT)
		return admin_error(call, rc, "isthmus fs list shows which head serves it",
				   "head %s has not mounted file system %s", h->config->name, name);
	if (rc && rc != -ERR_CORRUPT)
		return admin_error(call, rc, NULL, "verification ended early: %s", err_text(rc));
	admin_table(call, "report", true);
	admin_row(call);
	admin_put_text(call, "fs", "%s", name);
	admin_put_number(call, "inodes", v.report.inodes);
	admin_put_number(call, "directories", v.report.directories);
	admin_put_number(call, "files", v.report.files);
	admin_put_number(call, "blocks", v.report.blocks_used);
	admin_put_number(call, "errors", v.report.errors);
	admin_put_number(call, "repaired_from_copies", v.report.mirror_repairs);
	if (rc)
		return admin_error(call, rc, "unmount it and run fs check --device … --repair",
				   "file system %s is damaged: %llu findings", name,
				   (unsigned long long)v.report.errors);
	return 0;
}

int head_verify_register(struct head *h)
{
	return admin_register(h->admin, "fs.verify", verb_verify, h);
}
