#!/bin/sh
# Postfix: after "postsuper -r", XFORWARD IDENT is not the queue id of the message.
#
# Expected: The attribute IDENT of XFORWARD is the sender's own id of the message, to relate the logs of both sides. A requeued message has a new
#           queue id: the log, the output of postqueue and the topmost Received field have it. So IDENT is the new id.
# Happens:  IDENT stays the id that the message had when it first came in, even when it is requeued once more. No queue has that id by then. Only one
#           line of the log has both ids: that of pickup at the requeue ("orig_id=").
# Version:  Postfix 3.7.11-0+deb12u1 (Debian 12).
# Matters:  An archive behind Postfix that takes IDENT for the queue id looks for a message in the queue, or in the log of its delivery, by an id
#           that is not there. One that identifies a message by the id in its topmost Received field sees two messages where there is one. Used
#           rightly it helps: IDENT tells that a requeued message is the one that was deferred.
#
# Run as root. Its servers listen on unix sockets in a temporary folder. It exits with 0 and one line if this is still so.
# shellcheck disable=SC2016 # await evaluates its first argument
set -eu
version=3.7.11-0+deb12u1

changed() { echo "CHANGED: $*" >&2; exit 1; }
cannot() { echo "cannot tell: $*" >&2; exit 2; }
await() { for _ in $(seq 100); do if eval "$1"; then return; fi; sleep 0.2; done; cannot "no $2"; }

postfix='' sink=''
folder=$(mktemp -d)
finish() {
  { for process in $postfix $sink; do if kill "$process"; then wait "$process" || :; fi; done; } 2>/dev/null
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

# An LMTP server that prints what it is told, and defers every message.
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

# transactions prints "IDENT QUEUE-ID" of each transaction, the queue id from its topmost Received field.
transactions() {
  awk '/^LHLO/ { top = 1 }
       match($0, /IDENT=[0-9A-F]+/) { ident = substr($0, RSTART + 6, RLENGTH - 6) }
       top && match($0, /[ \t]id [0-9A-F]+/) { print ident, substr($0, RSTART + 4, RLENGTH - 4); top = 0 }' "$folder/seen"
}
smtp-source -m 1 -f ester@ext.test -t anna@alpha.test "unix:$folder/queue/public/smtpd"
await 'grep -q "status=deferred" "$folder/log"' "message that was deferred"
postsuper -r ALL 2>"$folder/postsuper"
await '[ "$(grep -c "status=deferred" "$folder/log")" -ge 2 ]' "second try of the message"

# shellcheck disable=SC2046 # one word for each argument
set -- $(transactions)
[ $# -ge 4 ] || cannot "$# words instead of IDENT and queue id of two transactions"
[ "$1" = "$2" ] || changed "before any requeue IDENT is $1, the queue id $2"
[ "$4" != "$2" ] || changed "the requeued message kept its queue id $2"
[ "$3" != "$4" ] || changed "IDENT of the requeued message is its new queue id"
[ "$3" = "$1" ] || changed "IDENT was $1 at first; for the requeued message with the queue id $4 it is $3"
echo "still so: Postfix $version requeued $1 as $4, and XFORWARD IDENT still says $3"
