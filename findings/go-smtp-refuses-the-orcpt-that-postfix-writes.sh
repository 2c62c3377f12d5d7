#!/bin/sh
# Postfix and go-smtp: mail to an internationalised mailbox bounces, because Postfix writes an ORCPT that go-smtp refuses.
#
# Expected: A client that uses SMTPUTF8 sends Postfix a message for jörg@alpha.test. The LMTP server behind Postfix announces SMTPUTF8 and DSN, as
#           go-smtp does with EnableSMTPUTF8 and EnableDSN. The message is delivered.
# Happens:  The client gives no ORCPT, so Postfix makes one of the type rfc822, with the octets of UTF-8 in xtext: ORCPT=rfc822;j+C3+B6rg@alpha.test.
#           (RFC 6533 section 3 has the type utf-8 for such an address. If the client gives that, Postfix passes it on, so one recipient comes in
#           two spellings.) go-smtp decodes the xtext, finds characters beyond ASCII, and replies 501 5.5.4 "Malformed ORCPT parameter value".
#           Postfix returns the message to its sender.
# Version:  Postfix 3.7.11-0+deb12u1 (Debian 12), github.com/emersion/go-smtp v0.25.1.
# Matters:  An archive needs ORCPT to tell direct mail from an alias, so it must announce DSN. With go-smtp it then bounces all mail to
#           internationalised mailboxes. Read an odd ORCPT leniently, in both spellings, and never refuse it.
#
# Run as root, with Go. Its servers listen on unix sockets in a temporary folder. It exits with 0 and one line if this is still so.
# shellcheck disable=SC2016 # await evaluates its first argument
set -eu
version=3.7.11-0+deb12u1
module=github.com/emersion/go-smtp@v0.25.1

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

# An LMTP server by go-smtp that accepts everything.
mkdir "$folder/server"
cat >"$folder/server/main.go" <<'END'
package main

import (
	"io"
	"log"
	"net"
	"os"

	"github.com/emersion/go-smtp"
)

type session struct{}

func (session) Mail(string, *smtp.MailOptions) error { return nil }
func (session) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (session) Data(r io.Reader) error               { _, err := io.Copy(io.Discard, r); return err }
func (session) Reset()                               {}
func (session) Logout() error                        { return nil }

func main() {
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	if err := os.Chmod(os.Args[1], 0o666); err != nil {
		log.Fatal(err)
	}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return session{}, nil }))
	server.LMTP = true
	server.EnableSMTPUTF8 = true
	server.EnableDSN = true
	server.Debug = os.Stdout
	log.Fatal(server.Serve(listener))
}
END
export GOMODCACHE="$folder/modules" GOFLAGS="-modcacherw -buildvcs=false" GOWORK=off
(cd "$folder/server" && go mod init server.test && go get $module && go build -o sink .) >"$folder/go" 2>&1 || { cat "$folder/go" >&2; cannot "no server"; }
"$folder/server/sink" "$folder/sink" >"$folder/seen" 2>&1 & sink=$!
export MAIL_CONFIG="$folder/etc"
postfix check
/usr/lib/postfix/sbin/master -c "$MAIL_CONFIG" -s 2>"$folder/errors" & postfix=$!
await '[ -S "$folder/sink" ] && [ -S "$folder/queue/public/smtpd" ]' "Postfix that runs"

# A client of Postfix.
cat >"$folder/client.pl" <<'END'
use IO::Socket::UNIX;
my ($path, @commands) = @ARGV;
my $server = IO::Socket::UNIX->new(Peer => $path) or die "$path: $!";
for my $command ("", @commands, "DATA", "Subject: for you\r\n\r\nHello.\r\n.") {
  print $server "$command\r\n" if $command;
  while (my $reply = <$server>) {
    next if $reply =~ /^\d{3}-/;
    die "$command: $reply" if $reply !~ /^[23]/;
    last;
  }
}
END
# send RCPT sends a message and sets $outcome to the log line that tells what became of it.
sent=0
send() {
  perl "$folder/client.pl" "$folder/queue/public/smtpd" "EHLO client.ext.test" "MAIL FROM:<> SMTPUTF8" "RCPT TO:$1"
  sent=$((sent + 1))
  await '[ "$(grep -c " status=" "$folder/log")" -ge $sent ]' "outcome of the message"
  outcome=$(grep " status=" "$folder/log" | tail -n 1)
}

send '<anna@alpha.test>'
case $outcome in *status=sent*) ;; *) cannot "not even mail to anna@alpha.test is delivered: $outcome" ;; esac
send '<jörg@alpha.test> ORCPT=utf-8;j\x{F6}rg@alpha.test'
case $outcome in *status=sent*) ;; *) changed "with the ORCPT of the client: $outcome" ;; esac
grep -qF 'RCPT TO:<jörg@alpha.test> ORCPT=utf-8;j\x{F6}rg@alpha.test' "$folder/seen" || changed "Postfix hands on another ORCPT than its client's"
send '<jörg@alpha.test>'
grep -qF 'RCPT TO:<jörg@alpha.test> ORCPT=rfc822;j+C3+B6rg@alpha.test' "$folder/seen" ||
  changed "Postfix makes another ORCPT: $(grep RCPT "$folder/seen" | tail -n 1)"
case $outcome in *status=bounced*"501 5.5.4"*) ;; *) changed "with the ORCPT of Postfix: $outcome" ;; esac
echo "still so: mail to jörg@alpha.test bounces: go-smtp v0.25.1 replies 501 to ORCPT=rfc822;j+C3+B6rg@alpha.test of Postfix $version"
