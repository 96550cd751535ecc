// The page's words in the languages it speaks.

/** @typedef {"key" | "about" | "enter" | "wrong" | "many" | "starting" | "offline" | "refused"} Text */

/** @type {Record<string, Record<Text, string>>} */
export const TEXTS = {
  en: {
    key: "Your key",
    about: "Whoever runs this server gives you one.",
    enter: "Sign in",
    wrong: "This key is wrong or has been revoked.",
    many: "Too many attempts. Try again in {seconds} s.",
    starting: "The server is still starting. Try again in a moment.",
    offline: "The server cannot be reached.",
    refused: "The server refused: {message}",
  },
  de: {
    key: "Dein Schlüssel",
    about: "Du bekommst ihn von der Person, die diesen Server betreibt.",
    enter: "Anmelden",
    wrong: "Dieser Schlüssel ist falsch oder wurde widerrufen.",
    many: "Zu viele Versuche. Bitte in {seconds} s noch einmal.",
    starting: "Der Server startet noch. Bitte gleich noch einmal versuchen.",
    offline: "Der Server ist nicht erreichbar.",
    refused: "Der Server hat abgelehnt: {message}",
  },
  fr: {
    key: "Votre clé",
    about: "La personne qui gère ce serveur vous en donne une.",
    enter: "Se connecter",
    wrong: "Cette clé est erronée ou a été révoquée.",
    many: "Trop d’essais. Réessayez dans {seconds} s.",
    starting: "Le serveur démarre encore. Réessayez dans un instant.",
    offline: "Le serveur est injoignable.",
    refused: "Le serveur a refusé : {message}",
  },
};
