/*
 * What the two controllers of a cluster say to each other about SCSI (LINK_SVC_SCSI): heads of
 * messages, little-endian, fixed layouts. A head begins with its version; one of another version
 * is refused with -ERR_VERSION, one of a wrong length or with an impossible field with -ERR_PROTO.
 *
 * front: the controller that has the session. owner: the one that has the volume. Both are both.
 *
 *   front -> owner
 *     FWD_NEXUS    call, control  a nexus of the front: its proxy is made
 *     FWD_GONE     send, control  the nexus is no more
 *     FWD_CMD      call, data     a command; data-out up to FWD_PIECE_MAX comes with it.
 *                                 Reply: fwd_done, with the first `room` bytes of data-in
 *     FWD_MORE     call, data     the next piece of data-in; the command is kept until the last.
 *                                 Reply: fwd_done, for it may fail yet
 *     FWD_DROP     send, data     no more pieces are wanted
 *     FWD_ABORT    send, data     the command's answer is not wanted (behind its FWD_CMD)
 *     FWD_TMF      call, control  a task management function; answered when it is done
 *   owner -> front
 *     FWD_PULL     call, data     the next piece of data-out of a command under way
 *     FWD_END      call, control  commands of a nexus on a LUN are to end; answered when they have
 *     FWD_ATTENTION send, control unit attentions for a nexus
 *     FWD_UNIT     send, control  state of a logical unit: the front shows and keeps it
 *
 * What the owner tells the front (FWD_ATTENTION, FWD_UNIT) is numbered; a reply names the last
 * number that went before it, and is not given to the initiator before that has been taken.
 */
#ifndef ISTHMUS_SERVER_SCSI_FORWARD_WIRE_H
#define ISTHMUS_SERVER_SCSI_FORWARD_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include "server/scsi/scsi.h"

#define FWD_VERSION   2
#define FWD_PIECE_MAX (1024u * 1024) /* data of one message */

enum fwd_type {
	FWD_NEXUS = 1,
	FWD_GONE,
	FWD_CMD,
	FWD_MORE,
	FWD_DROP,
	FWD_ABORT,
	FWD_TMF,
	FWD_PULL,
	FWD_END,
	FWD_ATTENTION,
	FWD_UNIT,
};

/* A nexus and something of it: FWD_GONE, FWD_DROP, FWD_ABORT (id), FWD_TMF (what, lun),
 * FWD_END (what: TASK ABORTED is told; lun). */
struct fwd_item {
	uint8_t what;
	uint64_t nexus, id;
	uint8_t lun[8];
};
#define FWD_ITEM_LEN 28
void fwd_item_put(uint8_t b[FWD_ITEM_LEN], const struct fwd_item *x);
int fwd_item_get(const void *b, uint32_t len, struct fwd_item *ret);

struct fwd_nexus {
	uint64_t nexus; /* never 0 */
	uint16_t tpgt;
	uint8_t isid[6];
	char target[224], initiator[224];
};
#define FWD_NEXUS_LEN 468
void fwd_nexus_put(uint8_t b[FWD_NEXUS_LEN], const struct fwd_nexus *x);
int fwd_nexus_get(const void *b, uint32_t len, struct fwd_nexus *ret);

struct fwd_cmd {
	uint64_t nexus, id;
	uint32_t out_expected; /* as the initiator said */
	uint32_t out_bytes;    /* of data-out that there are */
	uint32_t room;	       /* for data-in of this reply */
	bool pulled;	       /* the data-out is asked for piece by piece */
	uint8_t attr;	       /* enum scsi_attr */
	uint8_t lun[8];
	uint16_t cdb_len;
	const uint8_t *cdb; /* in the message */
};
#define FWD_CMD_LEN	44 /* and the CDB */
#define FWD_CMD_LEN_MAX (FWD_CMD_LEN + 260)
/* Returns the length. */
uint32_t fwd_cmd_put(uint8_t b[FWD_CMD_LEN_MAX], const struct fwd_cmd *x);
/* data_len: of the message. */
int fwd_cmd_get(const void *b, uint32_t len, uint32_t data_len, struct fwd_cmd *ret);

struct fwd_done {
	uint8_t status, sense_len;
	bool more; /* data-in is left: FWD_MORE or FWD_DROP must follow */
	uint32_t in_len, out_len;
	uint64_t told; /* number of what was told before */
	uint8_t sense[SCSI_SENSE_MAX];
};
#define FWD_DONE_LEN (24 + SCSI_SENSE_MAX)
void fwd_done_put(uint8_t b[FWD_DONE_LEN], const struct fwd_done *x);
/* data_len: what came with it, of at most room bytes. */
int fwd_done_get(const void *b, uint32_t len, uint32_t data_len, uint32_t room,
		 struct fwd_done *ret);

/* Of the reply to FWD_MORE, for len bytes from off on, of a command with in_len in all: it brings
 * them, or says that the command failed, and nothing more. */
int fwd_more_get(const void *b, uint32_t b_len, uint32_t data_len, uint32_t off, uint32_t len,
		 uint32_t in_len, struct fwd_done *ret);

/* A piece of a command's data: FWD_MORE, FWD_PULL. */
struct fwd_piece {
	uint64_t nexus, id;
	uint32_t off, len; /* 1 to FWD_PIECE_MAX */
};
#define FWD_PIECE_LEN 28
void fwd_piece_put(uint8_t b[FWD_PIECE_LEN], const struct fwd_piece *x);
int fwd_piece_get(const void *b, uint32_t len, struct fwd_piece *ret);

struct fwd_attention {
	uint64_t nexus, told;
	uint32_t lun, uas; /* a LUN's number; bits of enum scsi_ua */
};
#define FWD_ATTENTION_LEN 28
void fwd_attention_put(uint8_t b[FWD_ATTENTION_LEN], const struct fwd_attention *x);
int fwd_attention_get(const void *b, uint32_t len, struct fwd_attention *ret);

/* Which unit (lu_config), and what all nexuses share of it. */
struct fwd_unit {
	uint32_t volume_id, block_size, physical_size;
	bool removable, no_unmap;
	char serial[64];
	bool write_through, d_sense, swp, tas, ejected;
	uint8_t ua_intlck;
	uint8_t reserved; /* RESERVE: enum fwd_reserved */
	uint64_t by;	  /* the nexus */
	uint64_t told;
};
enum fwd_reserved { FWD_FREE, FWD_BY_RECEIVER, FWD_BY_SENDER };
#define FWD_UNIT_LEN 104
void fwd_unit_put(uint8_t b[FWD_UNIT_LEN], const struct fwd_unit *x);
int fwd_unit_get(const void *b, uint32_t len, struct fwd_unit *ret);

#endif
