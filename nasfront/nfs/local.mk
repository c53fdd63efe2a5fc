libnasfront_a_SOURCES += \
	nasfront/nfs/export.c nasfront/nfs/export.h nasfront/nfs/export_resolve.c \
	nasfront/nfs/fh.c nasfront/nfs/fh.h nasfront/nfs/mount3.c \
	nasfront/nfs/nfs.h nasfront/nfs/nfs_call.c nasfront/nfs/nfs_impl.h \
	nasfront/nfs/nfs_mount.c nasfront/nfs/nfs_stats.c \
	nasfront/nfs/nfs3_op_attr.c nasfront/nfs/nfs3_op_create.c nasfront/nfs/nfs3_op_dir.c \
	nasfront/nfs/nfs3_op_fsinfo.c nasfront/nfs/nfs3_op_io.c nasfront/nfs/nfs3_op_lookup.c \
	nasfront/nfs/nfs3_op_remove.c nasfront/nfs/nfs3_xdr.c nasfront/nfs/nfs3_xdr.h
