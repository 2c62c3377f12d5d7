#!/bin/sh
# Postfix: after "postsuper -r" the message has a Received field with a time in the future.
#
# Expected: The Received field that Postfix puts on top of a requeued message has the time of the requeue, or of the arrival. It is not later than
#           the moment at which Postfix hands the message on.
# Happens:  It has the time of the next try that the deferred message would have had without the requeue. With the default minimal_backoff_time
#           that is 300 seconds ahead after the first try. The wait grows with each try, up to maximal_backoff_time (4,000 seconds). (pickup dates
#           a message by the time of its file, which for a deferred one is the time of its next try.)
# Version:  Postfix 3.7.11-0+deb12u1 (Debian 12).
# Matters:  To learn from an archive when a message came, people read its Received fields from the top. Here the topmost one says that our own MTA
#           received the message after the archive took it in and the mailstore delivered it. Take the time of arrival from the archive's own clock,
#           and do not call a message forged for a time in the future.
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
    elsif (/^LHLO/) { print $client "250 mailstore\r\n" }
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

smtp-source -m 1 -f ester@ext.test -t anna@alpha.test "unix:$folder/queue/public/smtpd"
await 'grep -q "status=deferred" "$folder/log"' "message that was deferred"
postsuper -r ALL 2>"$folder/postsuper"
await '[ "$(grep -c "status=deferred" "$folder/log")" -ge 2 ]' "second try of the message"
now=$(date +%s)

# The date of the topmost Received field of each transaction.
dates=$(awk '/^LHLO/ { top = 1 } top && sub(/^[ \t].*; /, "") { print; top = 0 }' "$folder/seen")
first=$(date -d "$(echo "$dates" | sed -n 1p)" +%s)
second=$(date -d "$(echo "$dates" | sed -n 2p)" +%s)
[ "$first" -le "$now" ] || changed "before any requeue, Received is $((first - now)) s in the future"
[ $((second - now)) -gt 60 ] || changed "Received of the requeued message is $((second - now)) s after its second try"
echo "still so: Postfix $version puts a Received field on a requeued message whose time is $((second - now)) s in the future"
