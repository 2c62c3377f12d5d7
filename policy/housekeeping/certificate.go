package housekeeping

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"copialettere/journal/metrics"
)

// certificateEvery is how often a Certificate looks at its files, at most. It looks when somebody connects.
const certificateEvery = 10 * time.Second

// Certificate is the certificate of the daemon's listeners. It takes changed files into use by itself. Its methods may be called concurrently.
type Certificate struct {
	certificate, key string // paths
	log              *slog.Logger
	end              *metrics.Gauge

	mu      sync.Mutex
	current *tls.Certificate // nil as long as the files could not be used; guarded by mu
	stamps  [2]stamp         // of the files that current was read from, or that could not be read; guarded by mu
	looked  time.Time        // guarded by mu
	kept    bool             // the files were looked at before; guarded by mu
}

// stamp tells two states of a file apart.
type stamp struct {
	size int64
	time time.Time
}

// OpenCertificate reads a certificate and its key, in PEM. The metric of its end is that of a name.
func OpenCertificate(name, certificate, key string, m *metrics.Registry, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certificate: certificate, key: key, log: log, end: m.CertificateEnd(name), looked: time.Now(), kept: true}
	stamps, err := c.stampsNow()
	if err != nil {
		return nil, err
	}
	return c, c.read(stamps)
}

// KeepCertificate is OpenCertificate for a daemon that must start: if the files cannot be used, it logs why, the metric of the end is 0, and nobody can
// connect until they can.
func KeepCertificate(name, certificate, key string, m *metrics.Registry, log *slog.Logger) *Certificate {
	c := &Certificate{certificate: certificate, key: key, log: log, end: m.CertificateEnd(name)}
	c.inForce()
	return c
}

// TLS returns a configuration for a listener: TLS 1.2 and 1.3, with the certificate that is in force when somebody connects. A program that asks
// for a host (server_name, RFC 6066 section 3) is shown the first of the others that is for this host, if one is.
func (c *Certificate) TLS(others ...*Certificate) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		for _, other := range others {
			if one := other.inForce(); one != nil && hello.ServerName != "" && hello.SupportsCertificate(one) == nil {
				return one, nil
			}
		}
		if one := c.inForce(); one != nil {
			return one, nil
		}
		return nil, errNoCertificate
	}}
}

var errNoCertificate = errors.New("no certificate could be read")

// End returns when the certificate ends.
func (c *Certificate) End() time.Time { return c.inForce().Leaf.NotAfter }

// For returns nil if the certificate is for a host.
func (c *Certificate) For(host string) error {
	if err := c.inForce().Leaf.VerifyHostname(host); err != nil {
		return fmt.Errorf("certificate %s: %w", c.certificate, err)
	}
	return nil
}

// inForce returns the certificate, read anew if its files have changed. If they cannot be used the old one stays. It is nil if there never was one.
func (c *Certificate) inForce() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < certificateEvery {
		return c.current
	}
	c.looked = time.Now()
	stamps, err := c.stampsNow()
	if err == nil && stamps == c.stamps && c.current != nil {
		return c.current
	}
	if err == nil {
		err = c.read(stamps)
	}
	switch {
	case err != nil && c.current == nil:
		c.log.Error("the certificate cannot be used, and nobody can connect by TLS until it can", "error", err)
	case err != nil:
		c.log.Error("the changed certificate cannot be used, the old one stays", "error", err)
	case c.kept:
		c.log.Info("a changed certificate is in force", "file", c.certificate, "ends", c.current.Leaf.NotAfter)
	}
	c.kept = true
	return c.current
}

func (c *Certificate) stampsNow() (stamps [2]stamp, err error) {
	for i, file := range [...]string{c.certificate, c.key} {
		info, err := os.Stat(file)
		if err != nil {
			return stamps, fmt.Errorf("certificate: %w: put it there, for the daemon's user to read, or take its section out of the configuration", err)
		}
		stamps[i] = stamp{info.Size(), info.ModTime()}
	}
	return stamps, nil
}

// read reads the files, which had the stamps just before.
func (c *Certificate) read(stamps [2]stamp) error {
	c.stamps = stamps
	next, err := tls.LoadX509KeyPair(c.certificate, c.key)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.certificate, c.key, err)
	}
	c.current = &next
	c.end.Set(next.Leaf.NotAfter.Unix())
	return nil
}
