package pages

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"copialettere/journal/httpd"
	"copialettere/policy"
)

// slowReader is a browser that something happens to when it has read half of an answer.
type slowReader struct {
	discard
	half   int64
	happen func()
}

func (s *slowReader) Write(p []byte) (int, error) {
	n, err := s.discard.Write(p)
	if s.n >= s.half && s.happen != nil {
		s.happen()
		s.happen = nil
	}
	return n, err
}

// streams has a request answered to a slow reader, and reports whether the answer was cut off, and how many bytes came.
func (b *browser) streams(method, path, form string, half int64, happen func()) (cut bool, read int64) {
	b.t.Helper()
	q := httptest.NewRequestWithContext(b.t.Context(), method, path, strings.NewReader(form))
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q.AddCookie(&http.Cookie{Name: sessionCookie, Value: b.cookie})
	w := &slowReader{discard{header: make(http.Header)}, half, happen}
	defer func() {
		if w.happen != nil {
			b.t.Error("nothing has happened")
		}
		if r := recover(); r != nil && r != http.ErrAbortHandler {
			panic(r)
		} else if r != nil {
			cut, read = true, w.n
		}
	}()
	b.pages.ServeHTTP(w, q)
	return false, w.n
}

// TestStreamsEnd: a long answer is cut off when its reader may not have it any more.
func TestStreamsEnd(t *testing.T) {
	const size = 6 << 20
	for _, c := range []struct {
		name, login string
		happen      func(r *rig, b *browser)
		cut         bool
	}{
		{"nothing", anna, func(*rig, *browser) {}, false},
		{"the owner signs out everywhere", anna, func(r *rig, _ *browser) {
			_, err := r.auth.EndSessions(t.Context(), r.address(anna), func(string) bool { return true })
			r.must(err)
		}, true},
		{"the address comes to somebody else", anna, func(r *rig, _ *browser) {
			_, err := r.archive.HandOver(t.Context(), operator, r.address(anna), anna)
			r.must(err)
		}, true},
		{"the right of a delegate ends", "bruno@alpha.test", func(r *rig, _ *browser) {
			r.must(r.auth.RevokeDelegate(t.Context(), operator, r.address(anna), r.address("bruno@alpha.test")))
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			if c.login != anna {
				_, err := r.archive.AddDelegate(t.Context(), policy.Actor{Role: policy.RoleOwner, Name: anna}, r.address(anna), r.address(c.login), time.Now().Add(time.Hour))
				r.must(err)
			}
			ref := r.received("Subject: long\n\n" + strings.Repeat("One line of a long text.\n", size/25))
			b := r.signedIn(c.login)
			for _, answer := range []struct{ method, path, form string }{
				{http.MethodGet, at(ref) + "/raw", ""}, {http.MethodGet, at(ref) + "/parts/1", ""}, {http.MethodPost, ofAnna + "zip", url.Values{"m": {placeValue(ref)}}.Encode()},
			} {
				// The first one ends; the others are refused from the beginning.
				half := int64(size / 3)
				if answer.method == http.MethodPost {
					half = 1 // it is compressed
				}
				cut, read := b.streams(answer.method, answer.path, answer.form, half, func() { c.happen(r, b) })
				if cut != c.cut || cut && read > size*2/3 {
					t.Errorf("%s: cut off %t after %d bytes", answer.path, cut, read)
				}
				if c.cut {
					return
				}
			}
		})
	}
}

// TestSlowTurns: an answer that takes as long as the browser takes to read it is prepared in turn, and is read beside the turns.
func TestSlowTurns(t *testing.T) {
	r := newRig(t)
	ref := r.received(mixed)
	b := r.signedIn(anna)
	r.pages.turns = httpd.NewTurns(1, 0, 0)
	for _, path := range []string{"/print", "/body/1.2", "/parts/2", "/raw"} {
		release, ok := r.pages.turns.Take(t.Context(), anna)
		if w := b.get(at(ref) + path); !ok || w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s while another page is prepared: %t, %d", path, ok, w.Code)
		}
		release()
		if cut, _ := b.streams(http.MethodGet, at(ref)+path, "", 1, func() {
			if release, ok = r.pages.turns.Take(t.Context(), anna); !ok {
				t.Errorf("%s holds the turn while it is read", path)
			}
		}); cut {
			t.Errorf("%s is cut off", path)
		}
		release()
	}
}

// TestUnreadQuery refuses a query of which a part would be left out: a search that became none would show everything.
func TestUnreadQuery(t *testing.T) {
	b := newRig(t).signedIn(anna)
	for _, query := range []string{"q=100%", "q=x;folder=INBOX"} {
		if w := b.get(ofAnna + "messages?" + query); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", query, w.Code)
		}
	}
}

// TestMuchHTML opens a message with more HTML than a page looks at: it says so.
func TestMuchHTML(t *testing.T) {
	r := newRig(t)
	text := "--m\nContent-Type: text/html\n\n" + strings.Repeat("<p>parole, parole, parole\n", 2<<20/26) + "<img src=http://x.test/>\n"
	ref := r.received("Content-Type: multipart/mixed; boundary=m\n\n" + strings.Repeat(text, 4) + "--m--\n")
	b := r.signedIn(anna)
	if got := b.get(at(ref)).Body.String(); strings.Count(got, "<iframe") != 4 || strings.Count(got, "Se ci sono immagini di altri server") != 2 {
		t.Errorf("the page has %d frames: %s", strings.Count(got, "<iframe"), got)
	}
	if got := b.get(at(ref) + "/print").Body.String(); strings.Count(got, "Il testo continua: è intero nel messaggio") < 2 || strings.Count(got, "parole") > 4<<20/26*3 {
		t.Errorf("in print the text goes on %d times, in %d bytes", strings.Count(got, "Il testo continua"), len(got))
	}
}

// TestTextEnds shows texts of which the end is damaged: they say that there is more, and are cut off.
func TestTextEnds(t *testing.T) {
	r := newRig(t)
	b := r.signedIn(anna)
	lines := func(before string) string {
		var text strings.Builder
		for i := range 20_000 {
			fmt.Fprintf(&text, "%sLine %d of a long text, %x\n", before, i, i*i*i)
		}
		return text.String()
	}
	const image = "Content-Type: image/gif\nContent-Id: <a@b>\n\nGIF89a\n"
	for _, c := range []struct{ name, message, part, shown string }{
		{"plain text", "Subject: x\n\n" + lines(""), "1", "Line 100 of"},
		{"quoted text", "Subject: x\n\n" + lines("> > "), "1", "Line 100 of"},
		{"HTML", "Content-Type: text/html\n\n" + lines("<p>"), "1", ""},
		{"an image in HTML", "Content-Type: multipart/related; boundary=m\n\n--m\nContent-Type: text/html\n\n<div style='display:none'><p>Before<img src='cid:a@b'><p>After\n--m\n" +
			image + lines("") + "--m--\n", "1", "Before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ref := r.received(c.message)
			r.damageAt(ref, -1)
			q := httptest.NewRequestWithContext(t.Context(), http.MethodGet, at(ref)+"/body/"+c.part, nil)
			q.AddCookie(&http.Cookie{Name: sessionCookie, Value: b.cookie})
			w := httptest.NewRecorder()
			func() {
				defer func() {
					if recover() != http.ErrAbortHandler {
						t.Error("the answer is not cut off")
					}
				}()
				r.pages.ServeHTTP(w, q)
			}()
			got := w.Body.String()
			if !strings.Contains(got, c.shown) || !strings.HasSuffix(got, `<p class="cut">Il resto del testo non si può leggere adesso.</p>`) || !w.Flushed {
				t.Errorf("flushed %t: ...%s", w.Flushed, got[max(0, len(got)-300):])
			}
			if opened, closed := strings.Count(got, "<div")+strings.Count(got, "<blockquote>"), strings.Count(got, "</div>")+strings.Count(got, "</blockquote>"); opened != closed {
				t.Errorf("%d elements are open, and %d closed", opened, closed)
			}
		})
	}
}
