#!/bin/sh
# Dovecot: IMAP's BODY[1] is two octets too long when the part is itself a multipart.
#
# Expected: The line end before a boundary belongs to the boundary, not to the part before it (RFC 2046 section 5.1.1). BODY[1] ends where the
#           part ends, whatever its type.
# Happens:  That holds for a text part. If the part ends with the closing boundary of an inner multipart, or is a message (message/rfc822) that
#           ends with one, BODY[1] also has the line end before the outer boundary. So two messages whose parts differ by a final line end have
#           the same BODY[1].
# Version:  Dovecot 1:2.3.19.1+dfsg1-2.1+deb12u7 (Debian 12), dovecot-imapd.
# Matters:  In certified mail the message proper is such a part (postacert.eml), and the signed part is often a multipart. An archive that computes
#           a part's digest with its own MIME parser gets another one than by the mailstore's IMAP, and must not call that an alteration. A client
#           that fetches parts gets octets that nobody signed. A proof must come from the whole message.
#
# Run as root. It starts no server: doveadm runs the IMAP program on its own standard input. It exits with 0 and one line if this is still so.
set -eu
version=1:2.3.19.1+dfsg1-2.1+deb12u7

changed() { echo "CHANGED: $*" >&2; exit 1; }
cannot() { echo "cannot tell: $*" >&2; exit 2; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 2' HUP INT TERM

installed() { dpkg-query -W -f '${db:Status-Status} ${Version}' "$1" 2>/dev/null | sed -n 's/^installed //p'; }
missing=
for package in dovecot-core dovecot-imapd; do
  have=$(installed $package)
  [ "$have" ] || missing="$missing $package=$version"
  [ "${have:-$version}" = $version ] || cannot "this is about $package $version; here is $have"
done
if [ "$missing" ]; then # Debian's package would start a Dovecot of its own
  policy=/usr/sbin/policy-rc.d made='' failed=''
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy; chmod 755 $policy; made=1; }
  # shellcheck disable=SC2086 # several packages
  { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends $missing; } >"$folder/apt" 2>&1 || failed=1
  [ -z "$made" ] || rm $policy
  [ -z "$failed" ] || { cat "$folder/apt" >&2; cannot "$missing cannot be installed"; }
fi

chmod 755 "$folder"
mkdir -p "$folder/run" "$folder/mail/cur" "$folder/mail/new" "$folder/mail/tmp"
cat >"$folder/dovecot.conf" <<END
base_dir = $folder/run
state_dir = $folder/run
log_path = $folder/log
protocols = imap
ssl = no
mail_location = maildir:$folder/mail
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
END

multipart='Content-Type: multipart/mixed; boundary="inner"\r\n\r\n--inner\r\nContent-Type: text/plain\r\n\r\nHello.\r\n--inner--'
# message NUMBER HEADER BODY FINAL makes a message whose first part has that header, and that body with or without a final line end.
# It leaves the size of the body in $size.
message() {
  printf '%b' "$3$4" >"$folder/part"
  size=$(wc -c <"$folder/part")
  { printf 'From: ester@ext.test\r\nSubject: %s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="outer"\r\n\r\n--outer\r\n' "$1"
    printf '%b' "$2\\r\\n\\r\\n"
    cat "$folder/part"
    printf '\r\n--outer\r\nContent-Type: text/plain\r\n\r\nThe end.\r\n--outer--\r\n'; } >"$folder/mail/new/$1"
}
# bodies prints the size of BODY[1] of each message.
bodies() {
  printf 'a SELECT INBOX\r\nb FETCH 1:* BODY.PEEK[1]\r\nc LOGOUT\r\n' |
    USER=nobody HOME=$folder doveadm -c "$folder/dovecot.conf" exec imap 2>"$folder/errors" | sed -n 's/^\* [0-9]* FETCH (BODY\[1\] {\([0-9]*\)}.*/\1/p'
}

inner=${multipart#*\\r\\n\\r\\n}
want=
for case in "text/plain|Hello." "multipart/mixed; boundary=\"inner\"|$inner" "message/rfc822|$multipart"; do
  for final in "" "\\r\\n"; do
    number=$((${number:-0} + 1))
    message $number "Content-Type: ${case%%|*}" "${case#*|}" "$final"
    want="$want $size"
  done
done
chown -R nobody "$folder/mail"
# shellcheck disable=SC2086 # one word for each argument
set -- $want
[ $# = 6 ] || cannot "$# messages"
got=$(bodies | paste -s -d " " -)
[ "$(echo "$got" | wc -w)" = 6 ] || cannot "Dovecot says nothing of some messages: $(cat "$folder/errors")"
[ "$got" != "$*" ] || changed "BODY[1] has the right size for all types: $got"
[ "$got" = "$1 $2 $(($3 + 2)) $4 $(($5 + 2)) $6" ] || changed "the parts have $* octets, BODY[1] has $got"
echo "still so: Dovecot ${version#1:} has a BODY[1] of $(($3 + 2)) octets for a multipart of $3, and of $(($5 + 2)) for a message of $5"
