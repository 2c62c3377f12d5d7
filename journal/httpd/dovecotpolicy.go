package httpd

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"copialettere/journal/metrics"
	"copialettere/policy"
	"copialettere/policy/auth"
)

// maxPolicyRequest is the most bytes of a request of Dovecot's. One with the attributes of contrib/dovecot has some hundred.
const maxPolicyRequest = 64 << 10

// LoginPolicy is who answers what Dovecot asks: auth.Provider.
type LoginPolicy interface {
	Allow(context.Context, auth.ProviderLogin) *auth.Refusal
	Report(context.Context, auth.ProviderLogin)
}

// policyAnswer is what Dovecot reads: -1 refuses a login with the message, 0 leaves it to Dovecot.
type policyAnswer struct {
	Status  int    `json:"status"`
	Message string `json:"msg"`
}

// DovecotPolicy is the door for Dovecot's authentication policy (its settings auth_policy_*): POST with ?command=allow before and after a password is
// checked, and with ?command=report when a login has ended. The key must come as "Authorization: Bearer KEY". Whatever else than an answer of status
// 200 Dovecot takes for leave, and logs.
func DovecotPolicy(p LoginPolicy, key string, m *metrics.Registry) http.Handler {
	count := func(result string) {
		m.Counter("copialettere_dovecot_policy_requests_total", "Requests of Dovecot for leave to sign somebody in, and its reports, by result.", "result", result).Inc()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+key)) != 1 {
			count("wrong-key")
			http.Error(w, "wrong key", http.StatusUnauthorized)
			return
		}
		login, err := readProviderLogin(r)
		if err != nil {
			count("bad-request")
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer, result := policyAnswer{}, "allowed"
		switch r.URL.Query().Get("command") {
		case "report":
			p.Report(r.Context(), login)
			result = "reported"
		case "allow":
			if refusal := p.Allow(r.Context(), login); refusal != nil {
				answer, result = policyAnswer{-1, policy.ASCII(refusal.String())}, "refused"
			}
		default:
			count("bad-request")
			http.Error(w, "unknown command", http.StatusBadRequest)
			return
		}
		count(result)
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(answer)
	})
}

// readProviderLogin reads the JSON object of a request. It passes over attributes that it does not know.
func readProviderLogin(r *http.Request) (l auth.ProviderLogin, err error) {
	if r.Method != http.MethodPost {
		return l, errors.New("want POST")
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxPolicyRequest+1))
	switch {
	case err != nil || len(b) > maxPolicyRequest:
		return l, errors.New("the request does not end")
	case json.Unmarshal(b, &l) != nil:
		return l, errors.New("want one JSON object")
	}
	return l, nil
}
