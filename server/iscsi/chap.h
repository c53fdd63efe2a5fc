/*
 * CHAP as iSCSI uses it (RFC 7143 12.1.3, RFC 1994): the target challenges the
 * initiator; with mutual CHAP the initiator challenges back. Algorithms: MD5 (5),
 * SHA-1 (6), SHA-256 (7), SHA3-256 (8).
 *
 * Refused: our own challenge sent back to us (reflection), and a mutual secret
 * equal to the initiator's (RFC 7143 9.2.1).
 */
#ifndef ISTHMUS_ISCSI_CHAP_H
#define ISTHMUS_ISCSI_CHAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHAP_CHALLENGE	   32	/* bytes of ours */
#define CHAP_CHALLENGE_MAX 1024 /* bytes of theirs */
#define CHAP_DIGEST_MAX	   32

struct chap {
	unsigned algorithm; /* 0: not chosen yet */
	uint8_t id;
	uint8_t challenge[CHAP_CHALLENGE];
};

/* Algorithms that may be chosen: bit an IANA number. */
#define CHAP_ALL (1u << 5 | 1u << 6 | 1u << 7 | 1u << 8)
/* The bit of "md5", "sha1", "sha256" or "sha3-256"; 0: none of these. */
unsigned chap_algorithm_bit(const char *name);
/* Chooses the strongest algorithm of the initiator's list that is allowed and makes a challenge.
 * 0, -EOPNOTSUPP: none of them, -EIO: no randomness. */
int chap_begin(struct chap *c, const char *algorithms, unsigned allowed);
/* Bytes of a response; 0 for an unknown algorithm. */
size_t chap_digest_len(unsigned algorithm);
/* Response to (id, challenge) with a secret. Returns its length, 0 on failure. */
size_t chap_response(unsigned algorithm, uint8_t id, const char *secret, const uint8_t *challenge,
		     size_t challenge_len, uint8_t ret[CHAP_DIGEST_MAX]);
/* Is this the response to our challenge? Takes the same time whatever is wrong. */
bool chap_verify(const struct chap *c, const char *want_user, const char *secret, const char *user,
		 const uint8_t *response, size_t len);
/* May we answer this challenge of theirs? false: reflected. */
bool chap_challenge_ok(const struct chap *c, const uint8_t *challenge, size_t len);

#endif
