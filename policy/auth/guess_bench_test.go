//go:build bench

package auth

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestBenchGuessing has somebody try at least 10,000 wrong passwords from one address, up to 2,000 a second, with hashes as "copialettere password" makes
// them. It times the logins of somebody else meanwhile and those in peace, in short turns. They take no more than a tenth longer.
func TestBenchGuessing(t *testing.T) {
	const rounds, guesses, atOnce, logins, pause = 20, 10_000, 4, 7, 2 * time.Millisecond
	hash := newHash(password)
	for _, from := range []string{"192.0.2.66", "127.0.0.1"} {
		r := newRig(t, anna+":"+hash, mario+":"+hash)
		signIn := func(login, password, from string) error {
			_, err := r.Login(t.Context(), Attempt{Login: login, Password: password, Remote: netip.MustParseAddr(from), Protocol: ProtocolWeb})
			return err
		}
		median := func() time.Duration {
			var took []time.Duration
			for n := range logins {
				began := time.Now()
				if err := signIn(mario, password, fmt.Sprintf("198.51.100.%d", n+1)); err != nil {
					t.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			return took[logins/2]
		}
		var tried atomic.Int64
		var attacking sync.RWMutex // held while there is peace
		var done atomic.Bool
		var attack sync.WaitGroup
		attacking.Lock()
		for range atOnce {
			attack.Go(func() {
				for !done.Load() {
					attacking.RLock()
					n := tried.Add(1)
					if err := signIn(fmt.Sprintf("user%d@alpha.test", n), fmt.Sprint("wrong", n), from); !errors.Is(err, ErrDenied) && !errors.Is(err, ErrThrottled) {
						t.Error(err)
					}
					attacking.RUnlock()
					time.Sleep(pause)
				}
			})
		}
		attacking.Unlock()
		time.Sleep(3 * time.Second) // until the limit is reached
		attacking.Lock()
		var ratios []float64
		for range rounds {
			peace := median()
			attacking.Unlock()
			during := median()
			attacking.Lock()
			ratios = append(ratios, float64(during)/float64(peace))
		}
		attacking.Unlock()
		for from == "192.0.2.66" && tried.Load() < guesses {
			time.Sleep(pause)
		}
		done.Store(true)
		attack.Wait()
		slices.Sort(ratios)
		middle := ratios[rounds/2]
		t.Logf("%d guesses from %s: a login of somebody else takes %.3f times as long (median of %d rounds, half of them from %.3f to %.3f)",
			tried.Load(), from, middle, rounds, ratios[rounds/4], ratios[rounds*3/4])
		if middle > 1.10 {
			t.Errorf("guessing from %s slows others by more than a tenth", from)
		}
	}
}
