package auth

import (
	"context"
	"encoding/base64"
	"fmt"
	"iter"
)

// AppDigest is what a program that checks app passwords by itself must know of one.
type AppDigest struct {
	Archive string   // the name of the archive that it belongs to
	ID      string   // stands for its name, in letters, digits, - and _ only
	SHA256  [][]byte // of the password as it was shown, and without the hyphens
}

// AppDigests yields all app passwords, in the order of their archives.
func (a *Authenticator) AppDigests(ctx context.Context) iter.Seq2[AppDigest, error] {
	return func(yield func(AppDigest, error) bool) {
		if a == nil {
			return
		}
		from := credentialsKey("")
		to := []byte{from[0], from[1] + 1}
		for pair, err := range a.options.Settings.Scan(ctx, from, to) {
			archive := ""
			var c credentials
			if err == nil {
				archive = string(pair.Key[len(from):])
				c, err = decodeCredentials(pair.Value, nil)
			}
			if err != nil {
				yield(AppDigest{}, fmt.Errorf("app passwords of %s: %w", archive, err))
				return
			}
			for _, one := range c.AppPasswords {
				if !yield(AppDigest{archive, appID(one.Name), [][]byte{one.Shown, one.Bare}}, nil) {
					return
				}
			}
		}
	}
}

// appID returns the ID of an app password by its name.
func appID(name string) string { return base64.RawURLEncoding.EncodeToString([]byte(name)) }
