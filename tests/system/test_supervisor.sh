#!/usr/bin/env bash
# isthmusd with stand-ins for its children: restart after kill -9, back-off, a killed
# isthmusd that finds the same children again, reload, the front door, an ordered stop.
set -u
top=$(pwd) # the build tree, as `make check` runs it; tests/run system starts in the source tree
[ -x "$top/isthmusd" ] || top=$top/build/release
dir=$(mktemp -d /tmp/isthmus-sup-XXXXXX)
mkdir -p "$dir/bin" "$dir/run"
cp "$top/tests/system/fake_daemon" "$dir/bin/isthmus-controller"
cp "$top/tests/system/fake_daemon" "$dir/bin/isthmus-head"
cli() { timeout 10 "$top/isthmus" --config "$dir/c.yaml" "$@"; }
log=$dir/log
sup=0

pid() { sed 's/ .*//' "$dir/run/$1.pid" 2>/dev/null; }
pids() { for p in controller-a head-h1 head-h2; do pid $p; done; }
cleanup() {
	[ "$sup" -gt 0 ] && kill -9 "$sup" 2>/dev/null
	for p in $(pids); do kill -9 "$p" 2>/dev/null; done
	rm -rf "$dir"
}
trap cleanup EXIT
fail() { echo "FAIL: $*" >&2; tail -40 "$log" >&2; exit 1; }
now_ms() { date +%s%3N; }
# within SECONDS COMMAND...: until it succeeds
within() {
	local end=$(($(now_ms) + $1 * 1000)); shift
	until "$@"; do
		[ "$(now_ms)" -lt $end ] || return 1
		sleep 0.02
	done
}
alive() { kill -0 "$(pid "$1")" 2>/dev/null; }
up() { cli --json status 2>/dev/null | tr -d ' \n' | grep -q "\"name\":\"$1\",\"state\":\"up\""; }
is_new() { local p; p=$(pid "$1"); [ -n "$p" ] && [ "$p" != "$2" ] && up "${1#*-}"; }

state_is() { cli --json status 2>/dev/null | tr -d ' \n' | grep -q "\"name\":\"$1\",\"state\":\"$2\""; }
watchdog=1 watchdog_restart=no

config() { # MEMORY HEADS...
	cat >"$dir/c.yaml" <<-YAML
	array: {name: t, memory: $1, run_dir: $dir/run, state_dir: $dir/state, memory_dir: $dir/mem, log_level: info, watchdog: $watchdog, watchdog_restart: $watchdog_restart}
	controllers:
	  - {name: a, cache: 4MiB, disks: [/nonexistent/d0], portals: []}
	YAML
	shift
	echo "heads:" >>"$dir/c.yaml"
	local port=4000
	for h in "$@"; do
		echo "  - {name: $h, nfs_port: $((port++)), mount_port: 0}" >>"$dir/c.yaml"
	done
}
start() {
	"$top/isthmusd" -c "$dir/c.yaml" --libexec "$dir/bin" 2>>"$log" &
	sup=$!
}

config volatile h1
"$top/isthmusd" -n -c "$dir/c.yaml" --libexec "$dir/bin" >/dev/null || fail "-n refuses a good file"
echo "array: {" >"$dir/bad.yaml"
"$top/isthmusd" -n -c "$dir/bad.yaml" 2>/dev/null && fail "-n accepts a bad file"
cli status >/dev/null 2>&1; [ $? -eq 3 ] || fail "exit status without a daemon is not 3"

start
within 5 up a || fail "controller a does not come up"
within 5 up h1 || fail "head h1 does not come up"
[ "$(stat -c %s "$dir/mem/cache-a.seg")" -eq $((4 << 20)) ] || fail "segment has not its size"
[ "$(stat -c %a "$dir/mem/cache-a.seg")" -eq 600 ] || fail "segment is open to others"

# One isthmusd a run_dir.
"$top/isthmusd" -c "$dir/c.yaml" --libexec "$dir/bin" 2>/dev/null && fail "a second isthmusd ran"
kill -0 $sup || fail "the first isthmusd went away"

# The front door.
cli volume list | grep -q "vol of controller-a" || fail "volume list is not passed on"
cli status | grep -q "head-h1" || fail "status does not ask the head"
cli fs check demo | grep -q "head-h1 verified demo" || fail "fs check does not reach the head"
cli fs check nosuch >/dev/null 2>&1; [ $? -eq 1 ] || fail "fs check of nothing is not an error"

# Killed children are back at once.
for child in controller-a head-h1; do
	old=$(pid $child)
	t=$(now_ms)
	kill -9 "$old"
	within 2 is_new $child "$old" || fail "$child is not back in 2 s"
	echo "$child back after $(($(now_ms) - t)) ms"
done
cli event list | grep -q "killed by SIGKILL" || fail "no event tells of the death"

# A head is replaced in order, and the call waits for the new one.
old=$(pid head-h1)
cli head restart h1 >"$dir/out" || fail "head restart: $(cat "$dir/out")"
up h1 && [ "$(pid head-h1)" != "$old" ] || fail "h1 was not replaced"
cli event list | grep -q "head h1, pid $old: exited with code 0" || fail "h1 was not ended in order"
cli head restart nosuch >"$dir/out" 2>&1 && fail "no such head is restarted"
grep -q "no head .nosuch. is configured" "$dir/out" || fail "restart of nobody: $(cat "$dir/out")"
touch "$dir/run/h1.die"
cli head restart h1 >"$dir/out" 2>&1 && fail "a head that dies was restarted"
grep -q "does not come into service: exited with code 3" "$dir/out" || fail "restart of one that dies: $(cat "$dir/out")"
rm "$dir/run/h1.die"
within 8 up h1 || fail "h1 does not come back"

# isthmusd dies: children live on, and the next one finds them.
before=$(pid controller-a) before_h=$(pid head-h1)
kill -9 $sup; wait $sup 2>/dev/null
alive controller-a && alive head-h1 || fail "children died with isthmusd"
start
within 5 up a && within 5 up h1 || fail "children are not found again"
[ "$(pid controller-a)" = "$before" ] && [ "$(pid head-h1)" = "$before_h" ] ||
	fail "children were started anew"
cli event list | grep -q "is running already" || fail "no event tells of finding"
# ... and watches them as its own.
kill -9 "$before"
within 2 is_new controller-a "$before" || fail "a found child is not restarted"

# One that dies at once is retried more and more slowly, and explained.
old=$(pid head-h1)
touch "$dir/run/h1.die"
kill -9 "$old"
sleep 2
n=$(grep -c "head h1 started" "$log")
cli status | grep -q "exited with code 3" || fail "status does not say why h1 is down"
[ "$n" -ge 4 ] && [ "$n" -le 12 ] || fail "no back-off: $n starts"
rm "$dir/run/h1.die"
within 8 up h1 || fail "h1 is never tried again"

# One that hangs is told, and left alone; when it answers again that is told too.
for child in controller-a head-h1; do
	old=$(pid $child)
	kill -STOP "$old"
	within 8 state_is "${child#*-}" hung || fail "$child hangs and nobody says so"
	cli status | grep -q "pid $old, does not answer" || fail "status does not explain the hang"
	cli event list | grep -q "${child/-/ }, pid $old, has not answered for 1 s" || fail "no event tells of the hang"
	if [ $child = controller-a ]; then
		cli volume list >"$dir/out" 2>&1 && fail "a hung controller answers"
		grep -q "does not answer" "$dir/out" || fail "volume list does not say why: $(cat "$dir/out")"
	fi
	kill -CONT "$old"
	within 5 up "${child#*-}" || fail "$child answers and nobody says so"
	[ "$(pid $child)" = "$old" ] || fail "$child was restarted"
	cli event list | grep -q "${child/-/ }, pid $old, answers again" || fail "no event tells of the answer"
done
# With watchdog_restart it is killed and started again.
watchdog_restart=yes
config volatile h1
kill -HUP $sup
sleep 0.5
old=$(pid head-h1)
kill -STOP "$old"
within 10 is_new head-h1 "$old" || fail "a hung head is not restarted"
cli event list | grep -q "head h1 hangs and is killed by the watchdog" || fail "no event tells of the kill"
watchdog_restart=no

# Reload: a head more, one less, and a wrong file changes nothing.
config volatile h1 h2
kill -HUP $sup
within 5 up h2 || fail "h2 is not started by a reload"

# Services move between heads, and it is remembered.
runs_at() { tr '\0' ' ' <"/proc/$(pid "head-$1")/cmdline" | grep -q -- "--at $2 $1 "; }
at_home() { alive "head-$1" && ! grep -qa -- --at "/proc/$(pid "head-$1")/cmdline"; }
refuses() { # PATTERN VERB...
	local p=$1; shift
	cli head "$@" >"$dir/out" 2>&1 && fail "not refused: head $*"
	grep -q "$p" "$dir/out" || fail "head $*: $(cat "$dir/out")"
}
cli head move h1 h2 || fail "head move"
runs_at h1 h2 || fail "h1 does not run at h2"
cli head move h1 h2 || fail "a move to where it runs"
cli head list >"$dir/out"
grep -q "h1 *h2 *default" "$dir/out" && grep -q "h2 *default *yes *2" "$dir/out" || fail "head list: $(cat "$dir/out")"
refuses "no head h9 is configured" move h1 h9
refuses "no service .h9. is configured" move h9 h1
cli head disable h2 || fail "head disable"
at_home h1 && runs_at h2 h1 || fail "services stayed at a disabled head"
refuses "head h2 is disabled" return h2
refuses "is the last of its group" disable h1
kill -9 $sup; wait $sup 2>/dev/null
start
within 5 up h2 || fail "h2 is not found"
kill -9 "$(pid head-h2)"
within 5 runs_at h2 h1 || fail "where h2 runs was forgotten"
within 5 up h2 || fail "h2 does not come back"
refuses "head h2 is disabled" return h2
# One that an isthmusd left elsewhere in the middle of a move is brought there by the next.
kill -9 $sup; wait $sup 2>/dev/null
echo "disabled h2" >"$dir/state/placement"
start
within 5 at_home h2 && within 5 up h2 || fail "a move was left half done"
cli head move h2 h1 || fail "head move"
cli head enable h2 && at_home h2 || fail "h2 is not at home again"
cli head move h2 h1 && cli head balance && at_home h1 && at_home h2 || fail "head balance"
# Where it does not come up it does not stay; one that dies at a head again and again is tried at another.
touch "$dir/run/h2.broken"
refuses "cannot be moved to head h2: its new process does not come into service" move h1 h2
within 8 up h1 && at_home h1 || fail "h1 did not go back"
kill -9 "$(pid head-h2)"
within 8 runs_at h2 h1 && within 5 up h2 || fail "h2 is not tried at another head"
cli event list | grep -q "service h2 does not come up at head h2; it is tried at head h1" || fail "no event tells of it"
rm "$dir/run/h2.broken"
cli head return h2 && at_home h2 || fail "head return"
a=$(pid controller-a)
cp "$dir/c.yaml" "$dir/good.yaml"; echo "nonsense: 1" >>"$dir/c.yaml"
kill -HUP $sup; sleep 0.3; cp "$dir/good.yaml" "$dir/c.yaml"
up h2 && [ "$(pid controller-a)" = "$a" ] || fail "a wrong file changed something"
h2=$(pid head-h2)
config volatile h1
kill -HUP $sup
gone() { ! kill -0 "$h2" 2>/dev/null; }
within 5 gone || fail "h2 is not stopped by a reload"
up a && [ "$(pid controller-a)" = "$a" ] || fail "an unchanged controller was touched"
config battery h1
kill -HUP $sup
within 5 is_new controller-a "$a" || fail "a changed controller is not restarted"
within 5 up h1 || fail "h1 does not come back"

# Ordered stop: heads before controllers, everything gone.
a=$(pid controller-a) h=$(pid head-h1)
sleep 1.1 # the log's rate limit forgets the reloads
kill -TERM $sup
wait $sup || fail "isthmusd does not end well: $?"
sup=0
kill -0 "$a" 2>/dev/null || kill -0 "$h" 2>/dev/null && fail "children outlive an ordered stop"
[ -z "$(ls "$dir"/run/*.pid "$dir"/run/*.sock 2>/dev/null)" ] || fail "files are left: $(ls "$dir/run")"
stops=$(sed -n '/stopping signal/,$p' "$log" | grep -o "\(head h1\|controller a\), pid [0-9]*: exited with code 0" | cut -d, -f1 | tr '\n' ' ')
[ "$stops" = "head h1 controller a " ] || fail "stopped in the order: $stops"
grep -q "Sanitizer" "$log" && fail "a sanitizer complains"
echo "supervisor: all held"
