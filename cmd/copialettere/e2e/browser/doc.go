// Package browser tests the pages in a real browser, Debian's Chromium, which the tests drive through the DevTools protocol. The pages come from
// the program itself, run by the rig of the end-to-end tests, with mail delivered by LMTP and SMTP.
//
// It is a module of its own, so that the program's go.mod names no library that only a browser test needs. Run it with "make browser". With
//
//	go test -run TestScreenshots . -screenshots FOLDER
//
// it writes pictures of the main pages. "make screenshots" does so, and renews those in contrib/screenshots, which the README shows.
package browser
