#!/usr/bin/perl
# orcpt.pl HOOK FROM RCPT ORCPT FILE: sends a message by LMTP with the address that it was first sent to (ORCPT, RFC 3461 section 4.2).
# HOOK is HOST:PORT or the path of a unix socket. Exit status 0 when the message was accepted.
use strict;
use warnings;
use IO::Socket::INET;
use IO::Socket::UNIX;

die "usage: orcpt.pl HOOK FROM RCPT ORCPT FILE\n" unless @ARGV == 5;
my ($hook, $from, $rcpt, $orcpt, $file) = @ARGV;

my $socket = $hook =~ m{^/}
	? IO::Socket::UNIX->new(Peer => $hook)
	: IO::Socket::INET->new(PeerAddr => $hook, Timeout => 30);
die "connecting to $hook: $!\n" unless $socket;
binmode $socket;
alarm 120;

# reply reads a reply and dies unless it begins with the wanted digit.
sub reply {
	my ($wanted) = @_;
	while (my $line = <$socket>) {
		print "< $line";
		next if $line =~ /^\d\d\d-/;
		die "refused\n" unless $line =~ /^$wanted/;
		return;
	}
	die "the connection broke\n";
}

sub command {
	my ($line, $wanted) = @_;
	print "> $line\n";
	print $socket "$line\r\n";
	reply($wanted);
}

# xtext (RFC 3461 section 4): "+", "=" and everything but printable ASCII as +HEX.
(my $xtext = $orcpt) =~ s/([^!-~]|[+=])/sprintf("+%02X", ord $1)/ge;

reply(2);
command("LHLO localhost", 2);
command("MAIL FROM:<$from>", 2);
command("RCPT TO:<$rcpt> ORCPT=rfc822;$xtext", 2);
command("DATA", 3);
open(my $message, "<:raw", $file) or die "$file: $!\n";
while (my $line = <$message>) {
	$line =~ s/\r?\n$//;
	$line =~ s/^\./../;
	print $socket "$line\r\n";
}
command(".", 2);
command("QUIT", 2);
