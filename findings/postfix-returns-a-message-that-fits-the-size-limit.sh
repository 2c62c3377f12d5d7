#!/bin/sh
# Postfix: a message that fits the size limit of the next hop is returned as too large.
#
# Expected: A server announces SIZE with a number of octets (RFC 1870). Postfix hands it any message that has fewer.
# Happens:  Postfix counts one octet more for each line of 128 octets or more (the line needs that room in its queue file). It gives that number in
#           the parameter SIZE, and compares it with the limit. A message that is over the limit only by that count is returned to its sender
#           at once, with 5.3.4 "message size exceeds size limit", and never offered to the server. Here: 1,000 lines of 200 octets.
# Version:  Postfix 3.7.11-0+deb12u1 (Debian 12), LMTP client.
# Matters:  A hook before a mailstore announces the mailstore's limit, or its own. If it announces exactly that, Postfix refuses mail that either
#           would have taken, and no log of hook or mailstore tells of it. Announce well above what really fits, and do not compare a received
#           message with the SIZE of MAIL FROM.
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

# An LMTP server that announces a limit and prints the MAIL command and the octets of the message.
cat >"$folder/sink.pl" <<'END'
use IO::Socket::UNIX;
$| = 1;
my ($path, $limit) = @ARGV;
my $listener = IO::Socket::UNIX->new(Local => $path, Listen => 9) or die "$path: $!";
chmod 0666, $path;
while (my $client = $listener->accept) {
  my ($data, $octets) = (0, 0);
  print $client "220 mailstore\r\n";
  while (<$client>) {
    if ($data && $_ eq ".\r\n") { print "octets $octets\n"; print $client "250 2.0.0 ok\r\n"; $data = 0 }
    elsif ($data) { s/^\.//; $octets += length }
    elsif (/^LHLO/) { print $client "250-mailstore\r\n250-8BITMIME\r\n250 SIZE $limit\r\n" }
    elsif (/^DATA/) { print $client "354 go on\r\n"; $data = 1 }
    elsif (/^QUIT/) { print $client "221 bye\r\n"; last }
    else { print if /^MAIL/; print $client "250 2.0.0 ok\r\n" }
  }
}
END
# mailstore LIMIT starts it anew.
mailstore() {
  if [ "$sink" ]; then { if kill "$sink"; then wait "$sink" || :; fi; } 2>/dev/null; fi
  rm -f "$folder/sink"
  perl "$folder/sink.pl" "$folder/sink" "$1" >"$folder/seen" & sink=$!
  await '[ -S "$folder/sink" ]' "mailstore that runs"
}
# A client that sends a message of lines of 200 octets.
cat >"$folder/client.pl" <<'END'
use IO::Socket::UNIX;
my $server = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "$ARGV[0]: $!";
sub command {
  print $server @_;
  while (my $reply = <$server>) {
    next if $reply =~ /^\d{3}-/;
    return if $reply =~ /^[23]/;
    last;
  }
  die "refused: $_[0]\n";
}
command();
command("$_\r\n") for "EHLO client.ext.test", "MAIL FROM:<>", "RCPT TO:<anna\@alpha.test>", "DATA";
command("From: ester\@ext.test\r\nSubject: lines\r\n\r\n", ("x" x 198 . "\r\n") x 1000, ".\r\n");
END
export MAIL_CONFIG="$folder/etc"
postfix check
/usr/lib/postfix/sbin/master -c "$MAIL_CONFIG" -s 2>"$folder/errors" & postfix=$!
await '[ -S "$folder/queue/public/smtpd" ]' "Postfix that runs"

mailstore 1000000
perl "$folder/client.pl" "$folder/queue/public/smtpd"
await 'grep -q "status=sent" "$folder/log"' "delivery where the limit is high"
octets=$(sed -n 's/^octets //p' "$folder/seen")
size=$(sed -n 's/^MAIL .*SIZE=\([0-9]*\).*/\1/p' "$folder/seen" | tr -d '\r')
[ "$size" -gt "$((octets + 900))" ] || changed "the message has $octets octets, and MAIL says SIZE=$size"

limit=$((octets + 100))
mailstore $limit
perl "$folder/client.pl" "$folder/queue/public/smtpd"
await '[ "$(grep -c "to=<anna@alpha.test>" "$folder/log")" -ge 2 ]' "outcome of the second message"
grep -q "status=bounced (message size $size exceeds size limit $limit" "$folder/log" ||
  changed "the limit is $limit, and a message of $octets octets is not returned: $(grep "to=<anna" "$folder/log" | tail -n 1)"
[ ! -s "$folder/seen" ] || changed "the message was offered to the mailstore: $(cat "$folder/seen")"
echo "still so: Postfix $version returns a message of $octets octets although the limit is $limit: it counts $size"
