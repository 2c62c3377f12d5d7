#!/bin/sh
# go-cdc-chunkers: with "fastcdc", the wanted mean size of the chunks changes nothing.
#
# Expected: NormalSize is about the mean size of the chunks: with 1 MiB they are about twice as long as with 512 KiB.
# Happens:  "fastcdc" (and its keyed form "kfastcdc") always cuts by a mask made for chunks of 8 KiB, so a cut comes soon after MinSize. Here, with
#           a MinSize of 256 KiB, the mean is 284 KiB, and 512 KiB and 1 MiB give the very same cuts. The options are taken without an error.
#           "fastcdc-v1.0.0", in the same package, makes the mask from NormalSize.
# Version:  github.com/PlakarKorp/go-cdc-chunkers v1.1.0.
# Matters:  An archive that stores chunks once has a key, a digest and a reference for each. If chunks have little more than a quarter of the
#           planned size, it has nearly four times as many, and keeps them: the cuts decide what later messages share with earlier ones, so
#           changing the algorithm loses that.
#
# It needs Go. It exits with 0 and one line if this is still so.
set -eu
module=github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc@v1.1.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 2' HUP INT TERM
cd "$folder"
cat >main.go <<'END'
package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"slices"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	_ "github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc"
)

const kib = 1 << 10

// sizes returns those of the chunks of data; all sizes in octets.
func sizes(algorithm string, data []byte, normal int) []int {
	chunker, err := chunkers.NewChunker(algorithm, bytes.NewReader(data),
		&chunkers.ChunkerOpts{MinSize: 256 * kib, NormalSize: normal, MaxSize: 8192 * kib})
	if err != nil {
		log.Fatal(err)
	}
	var list []int
	for {
		chunk, err := chunker.Next()
		if len(chunk) > 0 {
			list = append(list, len(chunk))
		}
		if err == io.EOF {
			return list
		}
		if err != nil {
			log.Fatal(err)
		}
	}
}

func main() {
	data := make([]byte, 64<<20)
	rand.NewChaCha8([32]byte{}).Read(data)
	small, large := sizes("fastcdc", data, 512*kib), sizes("fastcdc", data, 1024*kib)
	versioned := sizes("fastcdc-v1.0.0", data, 1024*kib)
	mean, meanVersioned := len(data)/len(large)/kib, len(data)/len(versioned)/kib
	if !slices.Equal(small, large) || mean > 320 || meanVersioned < 768 {
		fmt.Fprintf(os.Stderr, "CHANGED: chunks are alike with NormalSize 512 KiB and 1 MiB: %t; with 1 MiB on average %d KiB, by fastcdc-v1.0.0 %d KiB\n",
			slices.Equal(small, large), mean, meanVersioned)
		os.Exit(1)
	}
	fmt.Printf("still so: with NormalSize 512 KiB and 1 MiB fastcdc of v1.1.0 cuts alike, on average %d KiB; fastcdc-v1.0.0 with 1 MiB %d KiB\n",
		mean, meanVersioned)
}
END
export GOMODCACHE="$folder/modules" GOFLAGS="-modcacherw -buildvcs=false" GOWORK=off
{ go mod init finding.test && go get $module && go build -o finding .; } >log 2>&1 || { cat log >&2; echo "cannot tell: it does not build" >&2; exit 2; }
timeout 60 ./finding
