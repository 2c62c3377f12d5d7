#!/bin/sh
# goleveldb: what was deleted and compacted away stays in a file of the open database.
#
# Expected: A key was deleted and its range compacted. The table that held it is in no version any more and nobody reads it, so its file is removed.
# Happens:  Not if that table was made when the database was opened, of the log that the last run left. Opening writes a new manifest, for which
#           newManifest adds all tables to the record of the first commit. It has the new table already, and now has it twice. setVersion takes the
#           record as what was added and counts two references to the file. The compaction takes one away, so the file stays until the database is
#           opened again, which removes what no version names.
# Version:  github.com/syndtr/goleveldb v1.0.1-0.20210819022825-2ae1ddf74ef7.
# Matters:  Whoever deletes for good may find the bytes on the disk for as long as the program runs, and up to a write buffer of space is not given
#           back. Open the database again once in a while; do not trust that a compaction has removed the bytes.
#
# It needs Go. It exits with 0 and one line if this is still so.
set -eu
module=github.com/syndtr/goleveldb/leveldb@v1.0.1-0.20210819022825-2ae1ddf74ef7

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 2' HUP INT TERM
cd "$folder"
cat >main.go <<'END'
package main

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"
)

const secret = "the bytes of a deleted message"

func open() *leveldb.DB {
	db, err := leveldb.OpenFile("db", &opt.Options{Compression: opt.NoCompression})
	if err != nil {
		log.Fatal(err)
	}
	return db
}

// files returns the tables that hold the secret.
func files() (list []string) {
	names, err := filepath.Glob("db/*.ldb")
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			log.Fatal(err)
		}
		if bytes.Contains(content, []byte(secret)) {
			list = append(list, name)
		}
	}
	return list
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	db := open()
	must(db.Put([]byte("key"), []byte(secret), &opt.WriteOptions{Sync: true}))
	must(db.Close())

	db = open()
	must(db.Delete([]byte("key"), &opt.WriteOptions{Sync: true}))
	must(db.CompactRange(util.Range{}))
	if _, err := db.Get([]byte("key"), nil); err != leveldb.ErrNotFound {
		log.Fatalf("a deleted key: %v", err)
	}
	time.Sleep(3 * time.Second) // files go a little later
	stay := files()
	must(db.Close())

	db = open()
	after := files()
	must(db.Close())
	if len(stay) != 1 || len(after) != 0 {
		fmt.Fprintf(os.Stderr, "CHANGED: after the compaction it is in %d files; opened again, in %d\n", len(stay), len(after))
		os.Exit(1)
	}
	fmt.Printf("still so: goleveldb of 2021-08 keeps what was deleted and compacted away in %s until it is opened again\n", stay[0])
}
END
export GOMODCACHE="$folder/modules" GOFLAGS="-modcacherw -buildvcs=false" GOWORK=off
{ go mod init finding.test && go get $module && go build -o finding .; } >log 2>&1 || { cat log >&2; echo "cannot tell: it does not build" >&2; exit 2; }
timeout 60 ./finding
