libserver_a_SOURCES += \
	server/scsi/scsi.h server/scsi/scsi_priv.h server/scsi/mode_pages.h \
	server/scsi/capacity.c server/scsi/cmd.c server/scsi/inquiry.c server/scsi/lu.c \
	server/scsi/lun.c server/scsi/mode.c server/scsi/mode_pages.c server/scsi/nexus.c \
	server/scsi/op_table.c server/scsi/provision.c server/scsi/registry.c \
	server/scsi/report_luns.c server/scsi/report_ops.c server/scsi/rw.c server/scsi/sense.c \
	server/scsi/sync.c server/scsi/target.c server/scsi/tmf.c server/scsi/unit.c \
	server/scsi/verify.c server/scsi/vpd.c
