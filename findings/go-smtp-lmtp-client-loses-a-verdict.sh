#!/bin/sh
# go-smtp: its LMTP client says of one address both that it took the message and that it did not.
#
# Expected: After the end of a message an LMTP server replies once for each RCPT that it accepted (RFC 2033 section 4.2). CloseWithLMTPResponse
#           returns each of these replies.
# Happens:  It keeps the replies by address, successes in one map and failures in another. If two RCPT lines name the same address, then of two
#           successes or two failures the earlier is lost, and of 250 and 451 the address is in both maps, as delivered and as refused. Nothing
#           tells which line got which reply.
# Version:  github.com/emersion/go-smtp v0.25.1.
# Matters:  One address on two RCPT lines is everyday mail: Postfix sends them, with an ORCPT each, when a message goes to a mailbox and to an alias
#           of it. A hook must give the MTA one reply for each line. By the map of successes alone it loses the copy that was deferred; by the error
#           alone it has the delivered copy sent again.
#
# It needs Go. It connects to itself on loopback. It exits with 0 and one line if this is still so.
set -eu
module=github.com/emersion/go-smtp@v0.25.1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 2' HUP INT TERM
cd "$folder"
cat >main.go <<'END'
package main

import (
	"bufio"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"strings"

	"github.com/emersion/go-smtp"
)

const anna = "anna@alpha.test"

// serve is an LMTP server for one message. It gives these replies after the dot.
func serve(listener net.Listener, replies []string) {
	conn, err := listener.Accept()
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	reply := func(line string) { fmt.Fprintf(conn, "%s\r\n", line) }
	reply("220 mailstore")
	data := false
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		verb, _, _ := strings.Cut(lines.Text(), " ")
		switch {
		case data && verb == ".":
			data = false
			for _, line := range replies {
				reply(line)
			}
		case data:
		case verb == "DATA":
			data = true
			reply("354 go on")
		case verb == "QUIT":
			reply("221 bye")
			return
		default:
			reply("250 ok")
		}
	}
}

// send sends a message with two RCPT lines of one address, and returns the texts of success and of failure that the client reports.
func send(replies ...string) (success, failure []string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer listener.Close()
	go serve(listener, replies)
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	client := smtp.NewClientLMTP(conn)
	defer client.Close()
	err = client.Mail("ester@ext.test", nil)
	for range 2 {
		err = errors.Join(err, client.Rcpt(anna, nil))
	}
	if err != nil {
		log.Fatal(err)
	}
	data, err := client.Data()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(data, "Subject: one mailbox, two lines\r\n\r\nHello.\r\n")
	responses, err := data.CloseWithLMTPResponse()
	for address, response := range responses {
		if address != anna {
			log.Fatalf("a response for %q", address)
		}
		success = append(success, response.StatusText)
	}
	var failed smtp.LMTPDataError
	if err != nil && !errors.As(err, &failed) {
		log.Fatal(err)
	}
	for address, err := range failed {
		if address != anna {
			log.Fatalf("an error for %q", address)
		}
		failure = append(failure, fmt.Sprint(err.Code, " ", err.Message))
	}
	return success, failure
}

func main() {
	for _, c := range []struct {
		first, second, want string
	}{
		{"250 first", "250 second", "[second] []"},
		{"451 first", "550 second", "[] [550 second]"},
		{"250 first", "451 second", "[first] [451 second]"},
		{"451 first", "250 second", "[second] [451 first]"},
	} {
		success, failure := send(c.first, c.second)
		if got := fmt.Sprint(success, " ", failure); got != c.want {
			fmt.Fprintf(os.Stderr, "CHANGED: from the replies %q and %q the client makes %s\n", c.first, c.second, got)
			os.Exit(1)
		}
	}
	fmt.Println("still so: of two replies for one address go-smtp v0.25.1 keeps one, or reports the address as both delivered and refused")
}
END
export GOMODCACHE="$folder/modules" GOFLAGS="-modcacherw -buildvcs=false" GOWORK=off
{ go mod init finding.test && go get $module && go build -o finding .; } >log 2>&1 || { cat log >&2; echo "cannot tell: it does not build" >&2; exit 2; }
timeout 60 ./finding
