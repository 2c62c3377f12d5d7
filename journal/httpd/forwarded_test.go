package httpd

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestForwarded believes X-Forwarded-For and X-Forwarded-Proto of trusted proxies alone.
func TestForwarded(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.0.0.0/8")}
	for _, c := range []struct {
		name, peer, proto string
		fields            []string
		want              string
		tls, hsts         bool
	}{
		{"nobody's word", "192.0.2.1:9", "https", []string{"198.51.100.7"}, "192.0.2.1:9", false, false},
		{"by TLS itself", "192.0.2.1:9", "", nil, "192.0.2.1:9", true, true},
		{"a trusted proxy", "127.0.0.1:9", "https", []string{"198.51.100.7"}, "198.51.100.7:0", false, true},
		{"a trusted proxy, in the clear", "127.0.0.1:9", "http", []string{"198.51.100.7"}, "198.51.100.7:0", false, false},
		{"what the client has forged", "127.0.0.1:9", "https", []string{"203.0.113.1, 198.51.100.7"}, "198.51.100.7:0", false, true},
		{"two proxies", "127.0.0.1:9", "https", []string{"203.0.113.1", "198.51.100.7, 10.1.2.3"}, "198.51.100.7:0", false, true},
		{"IPv6", "127.0.0.1:9", "https", []string{"2001:db8::1"}, "[2001:db8::1]:0", false, true},
		{"with a port", "127.0.0.1:9", "https", []string{"[2001:db8::1]:55"}, "[2001:db8::1]:0", false, true},
		{"IPv4 in IPv6", "[::ffff:127.0.0.1]:9", "https", []string{"::ffff:198.51.100.7"}, "198.51.100.7:0", false, true},
		{"no address", "127.0.0.1:9", "https", []string{"198.51.100.7, unknown"}, "127.0.0.1:9", false, true},
		{"no field", "127.0.0.1:9", "https", nil, "127.0.0.1:9", false, true},
		{"a unix socket", "@", "https", []string{"198.51.100.7"}, "@", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), "GET", "http://archivio.alpha.test/", nil)
			r.RemoteAddr = c.peer
			r.Header["X-Forwarded-For"] = c.fields
			if c.proto != "" {
				r.Header.Set("X-Forwarded-Proto", c.proto)
			}
			if c.tls {
				r.TLS = new(tls.ConnectionState)
			}
			got := ""
			w := httptest.NewRecorder()
			forwarded(trusted, "https://archivio.alpha.test", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr })).ServeHTTP(w, r)
			if hsts := w.Header().Get("Strict-Transport-Security") != ""; got != c.want || hsts != c.hsts {
				t.Errorf("from %q, HSTS %v, want %q, %v", got, hsts, c.want, c.hsts)
			}
		})
	}
}

// TestReadLogo takes pictures that cannot hold a script, and serves them under a path of their own.
func TestReadLogo(t *testing.T) {
	dir := t.TempDir()
	png := "\x89PNG\r\n\x1a\n" + strings.Repeat("x", 100)
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"a.png": {png, true}, "a.jpg": {"\xff\xd8\xff\xe0 x", true}, "a.webp": {"RIFF\x10\x00\x00\x00WEBPVP8 x", true}, "a.svg": {"<svg xmlns='http://www.w3.org/2000/svg'/>", false},
		"page.png": {"<html><script>", false}, "large.png": {png + strings.Repeat("x", maxLogo), false}, "empty.png": {"", false},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		logo, err := ReadLogo(file)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if !c.ok {
			continue
		}
		w := httptest.NewRecorder()
		Web(Backend{Logos: []Logo{logo}}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", logo.Path, nil))
		if w.Code != http.StatusOK || w.Body.String() != c.text || w.Header().Get("Content-Type") != logo.Type || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
	}
	if _, err := ReadLogo(filepath.Join(dir, "none.png")); err == nil {
		t.Error("a file that is not there")
	}
}
