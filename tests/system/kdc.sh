# A realm of Kerberos with a KDC of this distribution, in a folder of its own; nothing in /etc is
# read or changed. Sourced by tests.
#
#   kdc_start DIR PORT ADDRESS   makes realm TEST.ISTHMUS and starts its KDC on loopback, TCP only;
#                                ADDRESS:PORT is how clients reach it. Exports KRB5_CONFIG and
#                                KRB5_KDC_PROFILE for what is started from then on.
#   kdc_keytab FILE PRINCIPAL... new principals with random keys, added to the keytab
#   kdc_stop

KDC_REALM=TEST.ISTHMUS

kdc_conf() { # PORT ADDRESS
	cat <<-CONF
	[libdefaults]
	 default_realm = $KDC_REALM
	 dns_lookup_kdc = false
	 dns_lookup_realm = false
	 dns_canonicalize_hostname = false
	 rdns = false
	 udp_preference_limit = 1
	[realms]
	 $KDC_REALM = {
	  kdc = $2:$1
	 }
	[domain_realm]
	 localhost = $KDC_REALM
	 .test = $KDC_REALM
	CONF
}

kdc_start() { # DIR PORT ADDRESS
	local i
	KDC_DIR=$1
	mkdir -p "$KDC_DIR"
	kdc_conf "$2" 127.0.0.1 >"$KDC_DIR/krb5.conf"
	kdc_conf "$2" "$3" >"$KDC_DIR/client.conf"
	cat >"$KDC_DIR/kdc.conf" <<-CONF
	[kdcdefaults]
	 kdc_listen = ""
	 kdc_tcp_listen = 127.0.0.1:$2
	[realms]
	 $KDC_REALM = {
	  database_name = $KDC_DIR/db
	  key_stash_file = $KDC_DIR/stash
	  acl_file = $KDC_DIR/acl
	 }
	[logging]
	 kdc = FILE:$KDC_DIR/kdc.log
	 default = FILE:$KDC_DIR/kdc.log
	CONF
	export KRB5_CONFIG=$KDC_DIR/krb5.conf KRB5_KDC_PROFILE=$KDC_DIR/kdc.conf KRB5RCACHEDIR=$KDC_DIR
	export PATH=$PATH:/usr/sbin:/sbin
	kdb5_util create -s -W -r $KDC_REALM -P master >>"$KDC_DIR/out" 2>&1 || { cat "$KDC_DIR/out"; return 1; }
	krb5kdc -n >>"$KDC_DIR/out" 2>&1 &
	KDC_PID=$!
	for ((i = 0; i < 100; i++)); do
		(exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null && return
		sleep 0.1
	done
	echo "the KDC does not answer; see $KDC_DIR/out"
	cat "$KDC_DIR/out"
	return 1
}

kdc_keytab() { # FILE PRINCIPAL...
	local file=$1 p
	shift
	for p in "$@"; do
		kadmin.local -q "addprinc -randkey $p" >>"$KDC_DIR/out" 2>&1
		kadmin.local -q "ktadd -k $file $p" >>"$KDC_DIR/out" 2>&1 || { cat "$KDC_DIR/out"; return 1; }
	done
	[ -s "$file" ] || { cat "$KDC_DIR/out"; return 1; }
}

kdc_stop() {
	[ -z "${KDC_PID:-}" ] || kill "$KDC_PID" 2>/dev/null || true
}
