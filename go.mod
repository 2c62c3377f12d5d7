module copialettere

go 1.26.0

// Beside what the project is built on (go-smtp, go-message, go-mockdns in tests, goleveldb, toml), it takes:
//   klauspost/compress      zstd, for the chunks of the journal
//   PlakarKorp/go-cdc-chunkers  FastCDC, which finds the cuts between chunks
//   prometheus/client_golang  the exposition of the metrics, with those of the process and of Go
//   golang.org/x/mod        of it tlog and note: the Merkle trees and the signed notes of the evidence
//   smallstep/pkcs7         the signatures of time stamps, and of Apple's configuration profiles
//   howett.net/plist        their property lists
//   rsc.io/qr               the QR code of a link to one
//   golang.org/x/crypto     argon2 and bcrypt, for the hashes of passwords
//   microcosm-cc/bluemonday the allowlist through which the HTML of mail passes
//   go-imap                 the protocol engine for mail programs; v2.0.0-beta.8, unmodified
//   go-sasl                 the PLAIN that go-imap speaks
//   golang.org/x/net        of it idna, for domains in either of their two forms, and html, to read the HTML of mail
//   golang.org/x/sys        termios, so that a password is not shown when it is typed
//   golang.org/x/text       the tables of the former; of it norm, for file names in either of their two forms (NFC, NFD), and language
// goleveldb stays at the commit of August 2021: the later ones leaked tables in production elsewhere.
require (
	github.com/BurntSushi/toml v1.6.0
	github.com/PlakarKorp/go-cdc-chunkers v1.1.0
	github.com/emersion/go-message v0.18.2
	github.com/emersion/go-smtp v0.25.1
	github.com/foxcpp/go-mockdns v1.3.0
	github.com/klauspost/compress v1.20.3
	github.com/prometheus/client_golang v1.25.0
	github.com/prometheus/client_model v0.6.3
	github.com/smallstep/pkcs7 v0.2.3
	github.com/syndtr/goleveldb v1.0.1-0.20210819022825-2ae1ddf74ef7
	golang.org/x/crypto v0.58.0
	golang.org/x/net v0.62.0
	golang.org/x/sys v0.49.0
	golang.org/x/text v0.43.0
	howett.net/plist v1.0.1
	rsc.io/qr v0.2.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0
	github.com/emersion/go-imap/v2 v2.0.0-beta.8
	github.com/emersion/go-sasl v0.0.0-20241020182733-b788ff22d5a6
	github.com/microcosm-cc/bluemonday v1.0.27
	github.com/miekg/dns v1.1.57
	golang.org/x/mod v0.42.0
)

require (
	github.com/aymerick/douceur v0.2.0 // indirect
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/golang/snappy v0.0.4 // indirect
	github.com/gorilla/css v1.0.1 // indirect
	github.com/klauspost/cpuid/v2 v2.0.12 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	github.com/zeebo/blake3 v0.2.4 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/tools v0.51.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
