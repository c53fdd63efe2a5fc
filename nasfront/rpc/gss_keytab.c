/* The keys of the service, and what goes wrong with Kerberos in words that name the remedy. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <krb5.h>
#include "nasfront/rpc/gss_impl.h"
#include "runtime/check.h"

/* Any nfs/... of the keytab: a service without a host; no name is looked up in the network. */
static OM_uint32 service_name(const char *principal, gss_name_t *ret, OM_uint32 *ret_minor)
{
	const char *name = *principal ? principal : "nfs";
	gss_buffer_desc b = {.value = (char *)name, .length = strlen(name)};
	return gss_import_name(
	    ret_minor, &b,
	    *principal ? (gss_OID)GSS_KRB5_NT_PRINCIPAL_NAME : GSS_C_NT_HOSTBASED_SERVICE, ret);
}

/* A key of nfs/..., of any realm. */
static krb5_error_code has_service(krb5_context k, krb5_keytab kt)
{
	krb5_keytab_entry e;
	krb5_kt_cursor at;
	bool found = false;
	krb5_error_code rc = krb5_kt_start_seq_get(k, kt, &at);
	if (rc)
		return rc;
	while (!found && krb5_kt_next_entry(k, kt, &e, &at) == 0) {
		const krb5_data *d = e.principal->length == 2 ? &e.principal->data[0] : NULL;
		found = d && d->length == 3 && memcmp(d->data, "nfs", 3) == 0;
		krb5_free_keytab_entry_contents(k, &e);
	}
	krb5_kt_end_seq_get(k, kt, &at);
	return found ? 0 : KRB5_KT_NOTFOUND;
}

static krb5_error_code has_principal(krb5_context k, krb5_keytab kt, const char *principal)
{
	krb5_keytab_entry e;
	krb5_principal p;
	krb5_error_code rc = krb5_parse_name(k, principal, &p);
	if (rc)
		return rc;
	rc = krb5_kt_get_entry(k, kt, p, 0, 0, &e);
	if (rc == 0)
		krb5_free_keytab_entry_contents(k, &e);
	krb5_free_principal(k, p);
	return rc;
}

/* Looked at first: of a keytab without the key gss_acquire_cred_from() leaks the principal, at each
 * call that anybody makes. */
static krb5_error_code keytab_has(const char *file, const char *principal)
{
	krb5_context k;
	krb5_keytab kt;
	krb5_error_code rc = krb5_init_context(&k);
	if (rc)
		return rc;
	rc = krb5_kt_resolve(k, file, &kt);
	if (rc == 0) {
		rc = *principal ? has_principal(k, kt, principal) : has_service(k, kt);
		krb5_kt_close(k, kt);
	}
	krb5_free_context(k);
	return rc;
}

uint32_t gss_acceptor(const char *keytab, const char *principal, gss_cred_id_t *ret,
		      uint32_t *ret_minor)
{
	char file[1100];
	gss_key_value_element_desc e = {.key = "keytab", .value = file};
	gss_key_value_set_desc store = {.count = 1, .elements = &e};
	gss_OID_set_desc mechs = {.count = 1, .elements = (gss_OID)gss_mech_krb5};
	gss_name_t name = GSS_C_NO_NAME;
	OM_uint32 minor;
	snprintf(file, sizeof(file), "FILE:%s", keytab);
	krb5_error_code rc = keytab_has(file, principal);
	*ret_minor = (OM_uint32)rc;
	if (rc)
		return GSS_S_NO_CRED;
	OM_uint32 major = service_name(principal, &name, ret_minor);
	if (major == GSS_S_COMPLETE)
		major = gss_acquire_cred_from(ret_minor, name, GSS_C_INDEFINITE, &mechs,
					      GSS_C_ACCEPT, &store, ret, NULL, NULL);
	gss_release_name(&minor, &name);
	return major;
}

static const struct {
	OM_uint32 minor;
	const char *remedy;
} remedies[] = {
    {(OM_uint32)KRB5KRB_AP_ERR_SKEW, "set the clocks of both hosts, as by NTP"},
    {(OM_uint32)KRB5KRB_AP_ERR_TKT_NYV, "set the clocks of both hosts, as by NTP"},
    {(OM_uint32)KRB5KRB_AP_ERR_TKT_EXPIRED,
     "the client has to get a new ticket: kinit, or restart its rpc.gssd"},
    {(OM_uint32)KRB5_KT_NOTFOUND,
     "the keytab lacks the principal or realm that the client asked for: see klist -k, add it with "
     "kadmin ktadd"},
    {(OM_uint32)KRB5KRB_AP_WRONG_PRINC,
     "the keytab lacks the principal or realm that the client asked for: see klist -k, add it with "
     "kadmin ktadd"},
    {(OM_uint32)KRB5KRB_AP_ERR_NOT_US,
     "the keytab lacks the principal or realm that the client asked for: see klist -k, add it with "
     "kadmin ktadd"},
    {(OM_uint32)KRB5KRB_AP_ERR_NOKEY,
     "the keytab has no key of that version or encryption type: make it anew with kadmin ktadd"},
    {(OM_uint32)KRB5_KT_KVNONOTFOUND,
     "the keytab has no key of that version: make it anew with kadmin ktadd"},
    {(OM_uint32)KRB5KRB_AP_ERR_BADKEYVER,
     "the keytab has no key of that version: make it anew with kadmin ktadd"},
    {(OM_uint32)KRB5KRB_AP_ERR_BAD_INTEGRITY,
     "the key in the keytab is not the one of the KDC: make it anew with kadmin ktadd"},
    {(OM_uint32)KRB5KRB_AP_ERR_MODIFIED,
     "the key in the keytab is not the one of the KDC: make it anew with kadmin ktadd"},
    {(OM_uint32)KRB5KRB_AP_ERR_REPEAT, "a ticket came twice: the client asks again by itself"},
    {(OM_uint32)KRB5_CONFIG_NODEFREALM, "set default_realm in krb5.conf"},
    {ENOENT, "make the keytab with kadmin ktadd"},
    {EACCES, "let the head's user read the keytab"},
};

void gss_error_text(uint32_t major, uint32_t minor, const char *keytab, char *text, unsigned len)
{
	gss_buffer_desc b = GSS_C_EMPTY_BUFFER;
	OM_uint32 m, more = 0;
	const char *remedy = "see klist -k; kadmin ktadd adds keys";
	for (size_t i = 0; i < ARRAY_LEN(remedies); i++)
		if (remedies[i].minor == minor)
			remedy = remedies[i].remedy;
	bool mech = minor && gss_display_status(&m, minor, GSS_C_MECH_CODE, (gss_OID)gss_mech_krb5,
						&more, &b) == GSS_S_COMPLETE;
	if (!mech)
		gss_display_status(&m, major, GSS_C_GSS_CODE, GSS_C_NO_OID, &more, &b);
	snprintf(text, len, "%.*s; keytab %.100s; %s", (int)MIN(b.length, 120u), (char *)b.value,
		 keytab, remedy);
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == '"' || *p == 0x7f)
			*p = '?';
	gss_release_buffer(&m, &b);
}

int rpc_gss_look(const struct rpc_gss_opts *o, char *why, unsigned len)
{
	gss_cred_id_t cred = GSS_C_NO_CREDENTIAL;
	OM_uint32 minor = 0, m;
	OM_uint32 major = gss_acceptor(o->keytab, o->principal ? o->principal : "", &cred, &minor);
	if (major != GSS_S_COMPLETE)
		gss_error_text(major, minor, o->keytab, why, len);
	gss_release_cred(&m, &cred);
	return major == GSS_S_COMPLETE ? 0 : -ENOKEY;
}
