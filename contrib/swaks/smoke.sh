#!/bin/sh
# Sends a few messages to a running hook by LMTP and asks the program what became of them. README.md tells what it needs. Exit status: 0 all
# is right, 1 a case failed, 2 it cannot run.
#
# Variables of the environment, with their defaults:
#   HOOK      the hook's LMTP listener: HOST:PORT, or the path of a unix socket     127.0.0.1:2424
#   MAILBOX   an enabled mailbox                                                    anna@alpha.test
#   SECOND    another enabled mailbox                                               elena@beta.test
#   ALIAS     an address that is an alias of MAILBOX at the MTA                     info@alpha.test
#   PROGRAM   the program                                                           copialettere
#   CONFIG    its configuration                                                     /etc/copialettere/copialettere.toml
#   MEGABYTES size of the large message                                             20

set -u

HOOK=${HOOK:-127.0.0.1:2424}
MAILBOX=${MAILBOX:-anna@alpha.test}
SECOND=${SECOND:-elena@beta.test}
ALIAS=${ALIAS:-info@alpha.test}
PROGRAM=${PROGRAM:-copialettere}
CONFIG=${CONFIG:-/etc/copialettere/copialettere.toml}
MEGABYTES=${MEGABYTES:-20}

here=$(cd "$(dirname "$0")" && pwd) || exit 2
run=$(date +%Y%m%d%H%M%S).$$
failed=0

for need in swaks perl "$PROGRAM"; do
	if ! command -v "$need" >/dev/null 2>&1; then
		echo "smoke.sh: $need is missing" >&2
		exit 2
	fi
done

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 2' HUP INT TERM

# message CASE writes the head of a message, and the body from standard input, into $work/CASE.
message() {
	{
		printf 'From: swaks <swaks@ext.test>\nTo: %s\nSubject: smoke test %s\nMessage-ID: <smoke.%s.%s@ext.test>\n' "$MAILBOX" "$1" "$run" "$1"
		printf 'MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\n'
		cat
	} >"$work/$1"
}

# send CASE RECIPIENTS sends it by swaks.
send() {
	case $HOOK in
	/*) set -- "$1" "$2" --socket "$HOOK" ;;
	*) set -- "$1" "$2" --server "${HOOK%:*}" --port "${HOOK##*:}" ;;
	esac
	file=$work/$1
	to=$2
	shift 2
	swaks --protocol LMTP --timeout 120 --suppress-data --from swaks@ext.test --to "$to" --data "@$file" "$@" >"$work/log" 2>&1 || {
		cat "$work/log"
		return 1
	}
}

# send_for CASE RCPT ORCPT sends it with the address that it was first sent to, for which swaks has no option.
send_for() {
	perl "$here/orcpt.pl" "$HOOK" swaks@ext.test "$2" "$3" "$work/$1" >"$work/log" 2>&1 || {
		cat "$work/log"
		return 1
	}
}

# verdict CASE MAILBOX prints what "why" says: journaled, or the reason of the skip.
verdict() {
	"$PROGRAM" why -config "$CONFIG" -json -message-id "smoke.$run.$1@ext.test" "$2" |
		sed -n -e 's/.*"verdict":"journaled".*/journaled/p' -e 's/.*"verdict":"skipped".*"reason":"\([^"]*\)".*/\1/p' | sort -u
}

# entries CASE MAILBOX prints how many entries the mailbox has of the message.
entries() {
	"$PROGRAM" list -config "$CONFIG" -json "$2" | grep -c -F "smoke.$run.$1@ext.test"
}

# expect CASE MAILBOX VERDICT checks the verdict and the number of entries.
expect() {
	got=$(verdict "$1" "$2")
	count=$(entries "$1" "$2")
	want=0
	if [ "$3" = journaled ]; then
		want=1
	fi
	if [ "$got" = "$3" ] && [ "$count" = "$want" ]; then
		echo "ok      $1: $2 $3"
	else
		echo "FAILED  $1: $2: verdict \"$got\", expected \"$3\"; $count entries, expected $want"
		failed=1
	fi
}

not_sent() {
	echo "FAILED  $1: not accepted"
	failed=1
}

echo "Un messaggio diretto." | message direct
if send direct "$MAILBOX"; then expect direct "$MAILBOX" journaled; else not_sent direct; fi

echo "Un messaggio diretto, con il destinatario originale." | message original
if send_for original "$MAILBOX" "$MAILBOX"; then expect original "$MAILBOX" journaled; else not_sent original; fi

echo "Un messaggio scritto a un alias." | message alias
if send_for alias "$MAILBOX" "$ALIAS"; then expect alias "$MAILBOX" alias; else not_sent alias; fi

echo "Un messaggio con un'etichetta nell'indirizzo." | message tagged
if send tagged "${MAILBOX%@*}+prova@${MAILBOX#*@}"; then expect tagged "$MAILBOX" journaled; else not_sent tagged; fi

echo "Un messaggio a due caselle." | message recipients
if send recipients "$MAILBOX,$SECOND"; then
	expect recipients "$MAILBOX" journaled
	expect recipients "$SECOND" journaled
else
	not_sent recipients
fi

printf 'Perch\350 la citt\340 \350 cos\354 lontana?\n' | message eight-bit
if send eight-bit "$MAILBOX"; then expect eight-bit "$MAILBOX" journaled; else not_sent eight-bit; fi

perl -e 'print "abcdefghij" x 500, "\n"' | message long-line
if send long-line "$MAILBOX"; then expect long-line "$MAILBOX" journaled; else not_sent long-line; fi

perl -e 'my @c = ("a".."z", "A".."Z", 0..9); my $b = ""; $b .= join("", map $c[rand @c], 1..63) . "\n" for 1..16384; print $b for 1..$ARGV[0]' \
	"$MEGABYTES" | message large
if send large "$MAILBOX"; then expect large "$MAILBOX" journaled; else not_sent large; fi

exit $failed
