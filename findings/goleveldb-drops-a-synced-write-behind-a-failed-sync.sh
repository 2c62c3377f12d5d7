#!/bin/sh
# goleveldb: a write that was reported durable is gone after a restart, because the write before it failed.
#
# Expected: Put with Sync returns nil, so its data is there after the database is closed and opened again. An earlier write whose fsync failed may
#           be there or not.
# Happens:  The record of the failed write is in the log, but its sequence number is not used up: the next write gets the same one, and both are in
#           the log. When the log is replayed, the first counts, and the second is skipped without an error. So the refused write is there, and the
#           acknowledged one is not. The open database shows the opposite: nothing tells of the loss before the restart. Nor does the error of
#           fsync stick: the next write goes on as if nothing had happened.
# Version:  github.com/syndtr/goleveldb v1.0.1-0.20210819022825-2ae1ddf74ef7.
# Matters:  An archive says 250 when a message is durable. One failed fsync, from a disk that was full or away for a moment, costs the next message,
#           a good one that nobody will send again. After the first failed write, close the database and open it again before you acknowledge
#           anything.
#
# It needs Go. The fault is one error returned by Sync of a log file, through the library's own storage interface. It exits with 0 and one line if
# this is still so.
set -eu
module=github.com/syndtr/goleveldb/leveldb@v1.0.1-0.20210819022825-2ae1ddf74ef7

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 2' HUP INT TERM
cd "$folder"
cat >main.go <<'END'
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/storage"
)

var errDisk = errors.New("input/output error")

// disk is the storage on files. It fails one sync of a log.
type disk struct {
	storage.Storage
	failNext bool
}

type file struct {
	storage.Writer
	disk *disk
}

func (d *disk) Create(fd storage.FileDesc) (storage.Writer, error) {
	w, err := d.Storage.Create(fd)
	if err != nil || fd.Type != storage.TypeJournal {
		return w, err
	}
	return file{w, d}, nil
}

func (f file) Sync() error {
	if f.disk.failNext {
		f.disk.failNext = false
		return errDisk
	}
	return f.Writer.Sync()
}

func open(path string) (*leveldb.DB, *disk) {
	files, err := storage.OpenFile(path, false)
	if err != nil {
		log.Fatal(err)
	}
	d := &disk{Storage: files}
	db, err := leveldb.Open(d, nil)
	if err != nil {
		log.Fatal(err)
	}
	return db, d
}

// keys returns the keys of a database.
func keys(db *leveldb.DB) string {
	var found []string
	for i := db.NewIterator(nil, nil); ; {
		if !i.Next() {
			i.Release()
			if err := i.Error(); err != nil {
				log.Fatal(err)
			}
			return strings.Join(found, " ")
		}
		found = append(found, string(i.Key()))
	}
}

func main() {
	db, d := open("db")
	put := func(key string) error { return db.Put([]byte(key), []byte("a message"), &opt.WriteOptions{Sync: true}) }
	if err := put("1-good"); err != nil {
		log.Fatal(err)
	}
	d.failNext = true
	if err := put("2-refused"); !errors.Is(err, errDisk) {
		log.Fatalf("a write whose sync failed: %v", err)
	}
	if err := put("3-acknowledged"); err != nil {
		changed("after a failed sync a write is refused: %v", err)
	}
	if err := put("4-acknowledged"); err != nil {
		changed("after a failed sync the second write is refused: %v", err)
	}
	before := keys(db)
	if err := db.Close(); err != nil {
		log.Fatal(err)
	}
	d.Close()

	db, d = open("db")
	defer d.Close()
	defer db.Close()
	after := keys(db)
	if before != "1-good 3-acknowledged 4-acknowledged" || after != "1-good 2-refused 4-acknowledged" {
		changed("before it is closed it has %s; opened again, %s", before, after)
	}
	fmt.Printf("still so: goleveldb of 2021-08 has %s; opened again, %s\n", before, after)
}

func changed(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "CHANGED: "+format+"\n", arguments...)
	os.Exit(1)
}
END
export GOMODCACHE="$folder/modules" GOFLAGS="-modcacherw -buildvcs=false" GOWORK=off
{ go mod init finding.test && go get $module && go build -o finding .; } >log 2>&1 || { cat log >&2; echo "cannot tell: it does not build" >&2; exit 2; }
timeout 60 ./finding
