package config

import (
	"path/filepath"
	"strconv"
	"strings"
)

// Scan is the daemon of ClamAV that examines files before they are downloaded from the pages. Address is empty where there is none.
type Scan struct{ Network, Address string } // as net.Dial takes them

// scan reads [scan].
func (t *table) scan() Scan {
	const example = "unix:/run/clamav/clamd.ctl"
	s, ok := t.text("clamd", example)
	if !ok {
		return Scan{}
	}
	c, f := parseClamd(s, example)
	t.check("clamd", f)
	if f == nil && !Listener(c).loopback() {
		t.reader.warn(t.lineOf("clamd"), t.key("clamd"), quote(s)+" is another machine, to which files of mail go in the clear", `write "`+example+`"`)
	}
	return c
}

// parseClamd reads "unix:/PATH" or "tcp:HOST:PORT".
func parseClamd(s, example string) (Scan, *fault) {
	remedy := `write "` + example + `" or "tcp:127.0.0.1:3310"`
	network, address, _ := strings.Cut(s, ":")
	switch network {
	case "unix":
		if !filepath.IsAbs(address) || strings.ContainsRune(address, 0) || len(address) > maxSocketPath {
			return Scan{}, faultf(remedy, "%s has no absolute path of a socket", quote(s))
		}
		return Scan{network, filepath.Clean(address)}, nil
	case "tcp":
		_, port, f := splitHostPort(address, "tcp:", "127.0.0.1")
		if f != nil {
			return Scan{}, f
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return Scan{}, faultf(remedy, "%s has no valid port", quote(s))
		}
		return Scan{network, address}, nil
	}
	return Scan{}, faultf(remedy, "%s is not the address of a daemon", quote(s))
}
