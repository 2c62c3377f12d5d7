#!/bin/sh
# Postfix: after "postsuper -r" XFORWARD IDENT is not the queue id that the message has.
#
# Expected: XFORWARD's attribute IDENT is the sender's own id of the message, so that the logs of both sides can be put together. A message that
#           was requeued has a new queue id: it is in the log, in the output of postqueue, and in the Received field that was put on top. So IDENT
#           is the new id.
# Happens:  IDENT stays the id that the message had when it first came in, also when it is requeued once more. No queue has that id any more; the log
#           has the two ids together in one line only, that of pickup at the requeue ("orig_id=").
# Version:  Postfix 3.7.11-0+deb12u1 (Debian 12).
# Matters:  An archive behind Postfix that takes IDENT for the queue id looks for a message in the queue, or in the log of the delivery, by an id
#           that is not there. One that takes the id of the topmost Received field for the identity of the message sees two messages where there is
#           one. It is good news for whoever knows it: IDENT tells that a requeued message is the one that was deferred.
#
# Run as root. What it runs listens on unix sockets in a temporary folder. It exits with 0 and one line if this is still so.
set -eu
version=3.7.11-0+deb12u1

changed() { echo "CHANGED: $*" >&2; exit 1; }
cannot() { echo "cannot tell: $*" >&2; exit 2; }
await() { for _ in $(seq 100); do if eval "$1"; then return; fi; sleep 0.2; done; cannot "no $2"; }

postfix= sink=
folder=$(mktemp -d)
finish() {
  { for process in $postfix $sink; do kill "$process" && wait "$process" || :; done; } 2>/dev/null
  rm -rf "$folder"
}
trap finish EXIT
trap 'exit 2' HUP INT TERM

installed() { dpkg-query -W -f '${db:Status-Status} ${Version}' "$1" 2>/dev/null | sed -n 's/^installed //p'; }
have=$(installed postfix)
if [ -z "$have" ]; then # Debian's package would start a Postfix of its own
  policy=/usr/sbin/policy-rc.d made=
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy; chmod 755 $policy; made=1; }
  { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends postfix=$version; } >"$folder/apt" 2>&1 ||
    { cat "$folder/apt" >&2; have=none; }
  [ -z "$made" ] || rm $policy
  [ "$have" ] || have=$(installed postfix)
fi
[ "$have" = $version ] || cannot "this is about postfix $version; here is $have"

chmod 755 "$folder"
mkdir "$folder/etc" "$folder/queue" "$folder/data"
chown postfix "$folder/data"
cat >"$folder/etc/main.cf" <<END
compatibility_level = 3.6
queue_directory = $folder/queue
data_directory = $folder/data
maillog_file = $folder/log
maillog_file_prefixes = $folder
myhostname = mx.alpha.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
virtual_mailbox_domains = alpha.test
virtual_mailbox_maps = static:all
virtual_transport = lmtp:unix:$folder/sink
lmtp_send_xforward_command = yes
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
END
cat >"$folder/etc/master.cf" <<END
smtpd unix n - n - - smtpd
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
lmtp unix - - n - - lmtp
postlog unix-dgram n - n - 1 postlogd
END

# An LMTP server that writes what it is told, and defers every message.
cat >"$folder/sink.pl" <<'END'
use IO::Socket::UNIX;
$| = 1;
my $listener = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 9) or die "$ARGV[0]: $!";
chmod 0666, $ARGV[0];
while (my $client = $listener->accept) {
  my $data = 0;
  print $client "220 mailstore\r\n";
  while (<$client>) {
    s/\r\n$//;
    print "$_\n";
    if ($data) { print $client "451 4.3.0 later\r\n" and $data = 0 if $_ eq "." }
    elsif (/^LHLO/) { print $client "250-mailstore\r\n250 XFORWARD NAME ADDR PROTO HELO IDENT SOURCE\r\n" }
    elsif (/^DATA/) { print $client "354 go on\r\n"; $data = 1 }
    elsif (/^QUIT/) { print $client "221 bye\r\n"; last }
    else { print $client "250 2.0.0 ok\r\n" }
  }
}
END
perl "$folder/sink.pl" "$folder/sink" >"$folder/seen" & sink=$!
export MAIL_CONFIG="$folder/etc"
postfix check
/usr/lib/postfix/sbin/master -c "$MAIL_CONFIG" -s 2>"$folder/errors" & postfix=$!
await '[ -S "$folder/sink" ] && [ -S "$folder/queue/public/smtpd" ]' "Postfix that runs"

# transactions: of each "IDENT id-of-the-topmost-Received".
transactions() {
  awk '/^LHLO/ { top = 1 }
       match($0, /IDENT=[0-9A-F]+/) { ident = substr($0, RSTART + 6, RLENGTH - 6) }
       top && match($0, /[ \t]id [0-9A-F]+/) { print ident, substr($0, RSTART + 4, RLENGTH - 4); top = 0 }' "$folder/seen"
}
smtp-source -m 1 -f ester@ext.test -t anna@alpha.test "unix:$folder/queue/public/smtpd"
await 'grep -q "status=deferred" "$folder/log"' "message that was deferred"
postsuper -r ALL 2>"$folder/postsuper"
await '[ "$(grep -c "status=deferred" "$folder/log")" -ge 2 ]' "second try of the message"

set -- $(transactions)
[ $# -ge 4 ] || cannot "$# words where IDENT and queue id of two transactions were awaited"
[ "$1" = "$2" ] || changed "before any requeue IDENT is $1, the queue id $2"
[ "$4" != "$2" ] || changed "the requeued message kept its queue id $2"
[ "$3" != "$4" ] || changed "IDENT of the requeued message is its new queue id"
[ "$3" = "$1" ] || changed "IDENT was $1 at first, and is $3 of the requeued message, whose queue id is $4"
echo "still so: Postfix $version requeued $1 as $4, and its XFORWARD IDENT says $3"
