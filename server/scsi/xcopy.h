/* EXTENDED COPY (SPC-4 6.4, 6.5): what its files share. */
#ifndef ISTHMUS_SERVER_SCSI_XCOPY_H
#define ISTHMUS_SERVER_SCSI_XCOPY_H

#include "server/scsi/scsi_priv.h"

#define XCOPY_TARGETS	  16
#define XCOPY_SEGMENTS	  256
#define XCOPY_TARGET_LEN  32
#define XCOPY_SEGMENT_LEN 28
#define XCOPY_LIST_MAX	  (XCOPY_TARGETS * XCOPY_TARGET_LEN + XCOPY_SEGMENTS * XCOPY_SEGMENT_LEN)
#define XCOPY_RUNNING	  8 /* copies of one nexus at a time */
#define XCOPY_TYPE_BLOCK  0x02
#define XCOPY_TYPE_ID	  0xe4

/* ---- results, kept by the nexus for RECEIVE COPY ... (xcopy_results.c) ---- */

/* Takes a place for a copy; NULL with the status set: the identifier is in use, too many run. */
struct copy_result *copy_begin(struct scsi_cmd *c, bool lid4, uint32_t list_id, bool nameless);
/* Counts; false: it was aborted. */
bool copy_progress(struct scsi_nexus *n, struct copy_result *r, uint16_t segments, uint64_t bytes);
void copy_end(struct scsi_cmd *c, struct copy_result *r);

#endif
