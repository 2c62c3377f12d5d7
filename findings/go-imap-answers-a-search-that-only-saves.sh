#!/bin/sh
# go-imap: its server answers a search that was only to be saved with the whole result.
#
# Expected: RETURN (SAVE) keeps the result of a SEARCH on the server for "$". Alone it "also suppresses any ESEARCH response that would have been
#           otherwise returned" (RFC 9051 section 6.4.4, RFC 5182 section 2.1).
# Happens:  The server sends * ESEARCH with ALL, as if the client had asked for it. The result is saved too.
# Version:  github.com/emersion/go-imap/v2 v2.0.0-beta.8, imapserver with imapmemserver.
# Matters:  A program saves a result so that it need not travel: in a folder of 100,000 messages with gaps between the hits the set is long, and the
#           next command says only "$". A server built on the library sends it anyway. Whoever writes a Session cannot prevent it: the library puts
#           ALL into the options before it calls Search.
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
	text := []byte("Subject: one\r\n\r\nHello.\r\n")
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
		Caps:       imap.CapSet{imap.CapIMAP4rev1: {}, imap.CapESearch: {}, imap.CapSearchRes: {}}, InsecureAuth: true,
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
	for i, command := range []string{"LOGIN anna@alpha.test secret", "SELECT INBOX", "UID SEARCH RETURN (SAVE) ALL", "UID FETCH $ (UID)"} {
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
	want := "* ESEARCH (TAG \"t2\") UID ALL 1\r\nt2 OK UID SEARCH completed\r\n* 1 FETCH (UID 1)\r\nt3 OK UID FETCH completed\r\n"
	if said != want {
		fmt.Fprintf(os.Stderr, "CHANGED: the server says\n%s", said)
		os.Exit(1)
	}
	fmt.Println("still so: go-imap v2.0.0-beta.8 answers RETURN (SAVE) with the result")
}

// Size implements imap.LiteralReader.
func (m message) Size() int64 { return m.Reader.Size() }
END
export GOMODCACHE="$folder/modules" GOFLAGS="-modcacherw -buildvcs=false" GOWORK=off
{ go mod init finding.test && go get $module && go mod tidy && go build -o finding .; } >log 2>&1 || { cat log >&2; echo "cannot tell: it does not build" >&2; exit 2; }
timeout 60 ./finding
