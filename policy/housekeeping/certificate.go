package housekeeping

import (
	"crypto/tls"
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
	current *tls.Certificate // guarded by mu
	stamps  [2]stamp         // of the files that current was read from, or that could not be read; guarded by mu
	looked  time.Time        // guarded by mu
}

// stamp tells two states of a file apart.
type stamp struct {
	size int64
	time time.Time
}

// OpenCertificate reads a certificate and its key, in PEM.
func OpenCertificate(certificate, key string, m *metrics.Registry, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certificate: certificate, key: key, log: log, end: m.CertificateEnd("certificate"), looked: time.Now()}
	stamps, err := c.stampsNow()
	if err != nil {
		return nil, err
	}
	return c, c.read(stamps)
}

// TLS returns a configuration for a listener: TLS 1.2 and 1.3, with the certificate that is in force when somebody connects.
func (c *Certificate) TLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.inForce(), nil }}
}

// End returns when the certificate ends.
func (c *Certificate) End() time.Time { return c.inForce().Leaf.NotAfter }

// inForce returns the certificate, read anew if its files have changed. If they cannot be used the old one stays.
func (c *Certificate) inForce() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < certificateEvery {
		return c.current
	}
	c.looked = time.Now()
	stamps, err := c.stampsNow()
	if err == nil && stamps == c.stamps {
		return c.current
	}
	if err == nil {
		err = c.read(stamps)
	}
	if err != nil {
		c.log.Error("the changed certificate cannot be used, the old one stays", "error", err)
	} else {
		c.log.Info("a changed certificate is in force", "file", c.certificate, "ends", c.current.Leaf.NotAfter)
	}
	return c.current
}

func (c *Certificate) stampsNow() (stamps [2]stamp, err error) {
	for i, file := range [...]string{c.certificate, c.key} {
		info, err := os.Stat(file)
		if err != nil {
			return stamps, fmt.Errorf("certificate: %w", err)
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
