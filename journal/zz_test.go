package journal
import ("testing";"os";"path/filepath")
func TestZZ(t *testing.T){ f:=openFixture(t); n:=int64(0)
 fs,_:=filepath.Glob("../testdata/messages/*"); for _,p:=range fs { b,_:=os.ReadFile(p); n+=int64(len(b)); f.put(mario,b)}
 r:=f.verify(); t.Logf("corpus %d -> %d", n, r.Stored)
 g:=openFixture(t); g.put(mario, words(1,1<<20)); t.Logf("words 1M -> %d", g.verify().Stored)
 h:=openFixture(t); h.put(mario, enclosed(1,1000)); t.Logf("base64 1.37M -> %d", h.verify().Stored) }
