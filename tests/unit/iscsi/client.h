/* A plain initiator for tests: sends the PDUs it is told to, whatever they are. */
#ifndef ISTHMUS_TESTS_ISCSI_CLIENT_H
#define ISTHMUS_TESTS_ISCSI_CLIENT_H

#include <stdbool.h>
#include "server/iscsi/pdu.h"

#define CLIENT_DATA (2 * 1024 * 1024)

struct client {
	int fd;
	bool header_digest, data_digest;
	uint32_t itt, cmdsn, statsn; /* statsn: expected next */
	uint32_t maxcmdsn;
	uint8_t isid[6];
	uint16_t tsih; /* of the session, when logged in; set before for a further connection */
	uint16_t cid;
	/* the PDU received last */
	struct bhs bhs;
	uint32_t len;
	uint8_t data[CLIENT_DATA + 8];
};

struct client *client_connect(unsigned port); /* of 127.0.0.1 */
/* Over a connected socket. */
struct client *client_new(int fd);
/* Numeric, IPv4 or IPv6. */
struct client *client_connect_at(const char *address, unsigned port);
void client_free(struct client *c);
void client_send(struct client *c, struct bhs *b, const void *data, uint32_t len);
void client_send_raw(struct client *c, const void *data, size_t len);
/* False: the target closed the connection. Fails the test after five seconds of silence. */
bool client_recv(struct client *c);
/* The same, and the opcode must be this one. */
void client_expect(struct client *c, unsigned opcode);
/* True: nothing comes within that time. */
bool client_quiet(struct client *c, int ms);

/* One login request; text: "key=value" pairs ended by NULL. Receives the response; its status. */
unsigned client_login_step(struct client *c, unsigned flags, const char *const *text);
/* Straight to the full feature phase with these keys added; the status. */
unsigned client_login(struct client *c, const char *target, const char *const *extra);
/* The value of a key in the text received last; NULL: not there. */
const char *client_text(const struct client *c, const char *key);

/* Numbers and tags filled in; returns the task tag. */
uint32_t client_command(struct client *c, unsigned flags, const uint8_t cdb[16], uint32_t edtl,
			const void *data, uint32_t len);
void client_data_out(struct client *c, uint32_t itt, uint32_t ttt, uint32_t datasn, uint32_t offset,
		     const void *data, uint32_t len, bool final);
/* READ(10), WRITE(10) CDBs. */
void cdb_rw(uint8_t cdb[16], bool write, uint32_t lba, unsigned blocks);
/* Takes unit attentions of the login. */
void client_ready(struct client *c);

#endif
