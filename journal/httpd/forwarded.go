package httpd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
)

// forwarded gives requests that come from a trusted proxy the address of the client in RemoteAddr: the last in X-Forwarded-For that is not of a trusted
// proxy. From others the fields are not believed, nor over a socket that tells no address. It tells browsers that the public host speaks TLS, and
// nothing else (RFC 6797), where that is so.
func forwarded(trusted []netip.Prefix, public string, next http.Handler) http.Handler {
	believed := func(a netip.Addr) bool {
		return a.IsValid() && slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	u, err := url.Parse(public)
	secure := err == nil && u.Scheme == "https"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		byTLS := r.TLS != nil
		if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && believed(peer.Addr().Unmap()) {
			byTLS = byTLS || r.Header.Get("X-Forwarded-Proto") == "https"
			if client := clientOf(r.Header.Values("X-Forwarded-For"), believed); client.IsValid() {
				r = r.WithContext(r.Context())
				r.RemoteAddr = netip.AddrPortFrom(client, 0).String()
			}
		}
		if secure && byTLS && strings.EqualFold(r.Host, u.Host) {
			w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// clientOf returns the last address of the list that is not believed to be a proxy; the first one if all are, and the zero Addr where what is next to a
// proxy is no address.
func clientOf(lists []string, believed func(netip.Addr) bool) (client netip.Addr) {
	items := strings.Split(strings.Join(lists, ","), ",")
	for _, item := range slices.Backward(items) {
		item = strings.TrimSpace(item)
		address, err := netip.ParseAddr(item)
		if err != nil {
			with, err := netip.ParseAddrPort(item)
			if err != nil {
				return client
			}
			address = with.Addr()
		}
		if client = address.Unmap().WithZone(""); !believed(client) {
			return client
		}
	}
	return client
}

// maxLogo is the largest picture of a provider, in bytes.
const maxLogo = 64 << 10

// Logo is the picture of a provider, as pages show it. Its path changes with it, so browsers may keep it.
type Logo struct {
	Path, Type string
	Bytes      []byte
}

// ReadLogo reads a picture: PNG, JPEG or WebP. SVG is not taken, since it can hold scripts.
func ReadLogo(file string) (Logo, error) {
	b, err := readLimited(file)
	if err != nil {
		return Logo{}, fmt.Errorf("logo: %w", err)
	}
	kind := http.DetectContentType(b)
	ending := map[string]string{"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}[kind]
	if ending == "" {
		return Logo{}, fmt.Errorf("logo %s: want PNG, JPEG or WebP", file)
	}
	sum := sha256.Sum256(b)
	return Logo{"/logo-" + hex.EncodeToString(sum[:6]) + ending, kind, b}, nil
}

func readLimited(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxLogo || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: want a file of at most 64 kB", file)
	}
	return os.ReadFile(file)
}

// ServeHTTP implements http.Handler.
func (l Logo) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", l.Type)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Write(l.Bytes)
}
