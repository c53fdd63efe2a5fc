/*
 * The mode pages of a logical unit. Nothing is saved (PS = 0). Changeable are WCE of the
 * caching page (off: every write is as with FUA) and D_SENSE, SWP, UA_INTLCK_CTRL and TAS of the
 * control page; they are kept in the logical unit, shared by all nexuses, and go back to zero with
 * a reset.
 */
#include "server/scsi/mode_pages.h"

#define D_SENSE 0x04 /* byte 2 */
#define SWP	0x08 /* byte 4 */
#define INTLCK	0x30 /* byte 4: UA_INTLCK_CTRL */
#define TAS	0x40 /* byte 5 */
#define WCE	0x04 /* byte 2 of the caching page */

const struct mode_page mode_pages[] = {
    /* read-write error recovery: AWRE, ARRE */
    {.code = 0x01, .len = 12, .values = {0x01, 10, 0xc0}},
    /* disconnect-reconnect: no limits */
    {.code = 0x02, .len = 16, .values = {0x02, 14}},
    /* caching: WCE */
    {.code = 0x08, .len = 20, .values = {0x08, 18, WCE}, .changeable = {0, 0, WCE}},
    /* control: unrestricted reordering; busy time-out unlimited */
    {.code = 0x0a,
     .len = 12,
     .values = {0x0a, 10, 0, 0x10, 0, 0, 0, 0, 0xff, 0xff, 0, 0},
     .changeable = {0, 0, D_SENSE, 0, SWP | INTLCK, TAS}},
    /* control extension: MAXIMUM SENSE DATA LENGTH */
    {.code = 0x0a, .subpage = 0x01, .len = 32, .values = {0x4a, 0x01, 0, 28, 0, 0, SCSI_SENSE_MAX}},
    /* power condition: no timers */
    {.code = 0x1a, .len = 40, .values = {0x1a, 38}},
    /* informational exceptions control: DEXCPT */
    {.code = 0x1c, .len = 12, .values = {0x1c, 10, 0x08}},
};
const unsigned mode_npages = ARRAY_LEN(mode_pages);

const struct mode_page *mode_page_find(uint8_t code, uint8_t subpage)
{
	for (unsigned i = 0; i < mode_npages; i++)
		if (mode_pages[i].code == code && mode_pages[i].subpage == subpage)
			return &mode_pages[i];
	return NULL;
}

unsigned mode_page_get(const struct mode_page *p, struct scsi_lu *lu, enum mode_control pc,
		       uint8_t *buf)
{
	memcpy(buf, p->values, p->len);
	if (pc == MODE_CHANGEABLE) {
		unsigned header = p->subpage ? 4 : 2;
		memcpy(buf + header, p->changeable + header, p->len - header);
	} else if (pc == MODE_CURRENT && p->code == 0x08) {
		if (lu->write_through)
			buf[2] &= (uint8_t)~WCE;
	} else if (pc == MODE_CURRENT && p->code == 0x0a && !p->subpage) {
		if (lu->d_sense)
			buf[2] |= D_SENSE;
		if (lu->swp)
			buf[4] |= SWP;
		buf[4] |= (uint8_t)(lu->ua_intlck << 4);
		if (lu->tas)
			buf[5] |= TAS;
	}
	return p->len;
}

int mode_page_wrong(const struct mode_page *p, const uint8_t *buf)
{
	/* SPC-4 7.5.9: UA_INTLCK_CTRL 01b is reserved */
	bool control = p->code == 0x0a && !p->subpage;
	return control && (buf[4] & INTLCK) == 0x10 ? 4 : -1;
}

bool mode_page_set(const struct mode_page *p, struct scsi_lu *lu, const uint8_t *buf)
{
	if (p->code == 0x08) {
		bool through = !(buf[2] & WCE);
		return atomic_exchange(&lu->write_through, through) != through;
	}
	if (p->code != 0x0a || p->subpage)
		return false;
	bool d_sense = buf[2] & D_SENSE, swp = buf[4] & SWP;
	bool tas = buf[5] & TAS;
	uint8_t intlck = (buf[4] & INTLCK) >> 4;
	bool changed = atomic_exchange(&lu->d_sense, d_sense) != d_sense;
	changed |= atomic_exchange(&lu->tas, tas) != tas;
	changed |= atomic_exchange(&lu->ua_intlck, intlck) != intlck;
	return (atomic_exchange(&lu->swp, swp) != swp) | changed;
}
