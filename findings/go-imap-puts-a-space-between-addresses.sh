#!/bin/sh
# go-imap: its server puts a space between the addresses of an ENVELOPE, where the grammar has none.
#
# Expected: The addresses of a field stand side by side: env-to = "(" 1*address ")" / nil, and a space stands only where SP is written
#           (RFC 3501 section 9; the same in RFC 9051 section 9). Dovecot writes (("A" NIL "a" "x.test")("B" NIL "b" "x.test")).
# Happens:  The server writes (("A" NIL "a" "x.test") ("B" NIL "b" "x.test")).
# Version:  github.com/emersion/go-imap/v2 v2.0.0-beta.8, imapserver with imapmemserver.
# Matters:  A program that reads by the grammar, and a test that compares two servers byte by byte, meets a space that must not be there at every
#           message with two recipients. A message to one is written right, so a first try with a small mail does not show it.
#
# It needs Go. It connects to itself on loopback. It exits with 0 and one line if this is still so.
set -eu
module=github.com/emersion/go-imap/v2@v2.0.0-beta.8

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 2' HUP INT TERM
cd "$folder"
cat >main.go <<'END'
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"log"
	"net"
	"os"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"
)

type message struct{ *bytes.Reader }

func main() {
	user := imapmemserver.NewUser("anna@alpha.test", "secret")
	text := []byte("Subject: one\r\nFrom: C <c@x.test>\r\nTo: A <a@x.test>, B <b@x.test>\r\n\r\nHello.\r\n")
	if err := user.Create("INBOX", nil); err != nil {
		log.Fatal(err)
	}
	if _, err := user.Append("INBOX", message{bytes.NewReader(text)}, &imap.AppendOptions{}); err != nil {
		log.Fatal(err)
	}
	memory := imapmemserver.New()
	memory.AddUser(user)
	server := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) { return memory.NewSession(), nil, nil },
		Caps:       imap.CapSet{imap.CapIMAP4rev1: {}}, InsecureAuth: true,
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go server.Serve(listener)
	defer server.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	lines := bufio.NewReader(conn)
	lines.ReadString('\n')
	said := ""
	for i, command := range []string{"LOGIN anna@alpha.test secret", "SELECT INBOX", "FETCH 1 (ENVELOPE)"} {
		tag := fmt.Sprint("t", i)
		fmt.Fprintf(conn, "%s %s\r\n", tag, command)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				log.Fatal(err)
			}
			if i > 1 {
				said += line
			}
			if strings.HasPrefix(line, tag) {
				break
			}
		}
	}
	const want = ` (("A" NIL "a" "x.test") ("B" NIL "b" "x.test")) `
	if !strings.Contains(said, want) {
		fmt.Fprintf(os.Stderr, "CHANGED: the server says\n%s", said)
		os.Exit(1)
	}
	fmt.Println("still so: go-imap v2.0.0-beta.8 puts a space between two addresses of an ENVELOPE")
}

// Size implements imap.LiteralReader.
func (m message) Size() int64 { return m.Reader.Size() }
END
export GOMODCACHE="$folder/modules" GOFLAGS="-modcacherw -buildvcs=false" GOWORK=off
{ go mod init finding.test && go get $module && go mod tidy && go build -o finding .; } >log 2>&1 || { cat log >&2; echo "cannot tell: it does not build" >&2; exit 2; }
timeout 60 ./finding
