libnasfront_a_SOURCES += \
	nasfront/fs/access.c nasfront/fs/alloc.c nasfront/fs/alloc_inode.c nasfront/fs/checkpoint.c \
	nasfront/fs/dir.c nasfront/fs/extent.c nasfront/fs/fs.h nasfront/fs/impl.h \
	nasfront/fs/inode.c nasfront/fs/journal.c nasfront/fs/layout.h nasfront/fs/meta.c \
	nasfront/fs/mkfs.c nasfront/fs/mount.c nasfront/fs/name.c nasfront/fs/orphan.c \
	nasfront/fs/range.c nasfront/fs/read.c nasfront/fs/readdir.c nasfront/fs/rename.c \
	nasfront/fs/replay.c nasfront/fs/setattr.c nasfront/fs/tree.c nasfront/fs/tree_node.c \
	nasfront/fs/txn.c nasfront/fs/watch.c nasfront/fs/watch.h nasfront/fs/write.c

