// Package e2e holds the end-to-end tests: real messages through a real Postfix, the program and a real Dovecot, all on loopback and started
// by the tests themselves; the daemon as its own process, killed at any moment; and the stories of testdata/stories, which show what an
// operator types and sees. It has no code of its own: package rig starts the servers, package bench measures.
package e2e
