/*
 * Frames on a pipe: 56 bytes, then head_len bytes of head, then data_len bytes of data. All
 * little endian.
 *
 *   0  u32 magic "ISLK"
 *   4  u8  kind
 *   5  u8  service        messages only, else 0
 *   6  u16 type           messages only: the service's own
 *   8  u64 seq            of this path in this session, from 1; 0: not a message
 *  16  u64 ack            the peer's messages of this path up to this one were taken
 *  24  u64 credit         the cost of messages that the peer may have sent in all (link_path.c)
 *  32  u64 call           CALL: the caller's number for it; REPLY: the same again
 *  40  u32 head_len       at most LINK_HEAD_MAX
 *  44  u32 data_len       at most LINK_DATA_MAX
 *  48  i32 rc             REPLY: 0 or a negative error
 *  52  u32 crc32c of bytes 0 to 51
 */
#ifndef ISTHMUS_BLOCKCORE_LINK_FRAME_H
#define ISTHMUS_BLOCKCORE_LINK_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#define LINK_FRAME_SIZE	 56
#define LINK_FRAME_MAGIC 0x4b4c5349u

enum link_kind {
	LINK_K_HELLO = 1,
	LINK_K_WELCOME,
	LINK_K_CONFIRM,
	LINK_K_REJECT,
	LINK_K_BEAT, /* a sign of life; acknowledgement and credit alone */
	LINK_K_BYE,  /* the session ends */
	LINK_K_CALL,
	LINK_K_REPLY,
	LINK_K_SEND,
	LINK_K_END
};

struct link_frame {
	uint8_t kind, service;
	uint16_t type;
	uint64_t seq, ack, credit, call;
	uint32_t head_len, data_len;
	int32_t rc;
};

void link_frame_encode(uint8_t buf[LINK_FRAME_SIZE], const struct link_frame *f);
/* -ERR_PROTO: not a frame, or one with fields that its kind does not have. */
int link_frame_decode(const uint8_t buf[LINK_FRAME_SIZE], struct link_frame *ret);
/* Numbered, acknowledged, sent again. */
static inline bool link_kind_is_message(uint8_t kind)
{
	return kind >= LINK_K_CALL && kind <= LINK_K_SEND;
}

#endif
